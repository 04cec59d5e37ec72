// Keeps one CPU busy, half in user space and half in system calls, as the bystander
// that must never be blamed: hog CPU. Says "ready".
#include "common.h"
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

int main(int argc, char **argv)
{
	volatile unsigned long n = 0;
	cpu_set_t set;

	if (argc != 2)
		usage("hog CPU");
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "e2e-hog");
	CPU_ZERO(&set);
	CPU_SET(atoi(argv[1]), &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity");
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		if (++n & 0x10000)
			syscall(SYS_getppid);
	}
}
