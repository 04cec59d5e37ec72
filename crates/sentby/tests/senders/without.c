/* without bpf|new COMMAND...: runs a command to which the kernel seems to lack bpf(2), or
 * every system call that Linux 3.10 did not have yet (x86-64). */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* finit_module, the last one of 3.10 (arch/x86/syscalls/syscall_64.tbl). */
#define LAST_OF_3_10 313

int main(int argc, char **argv)
{
	int old = argc > 2 && !strcmp(argv[1], "new");
	struct sock_filter program[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		old ? (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, LAST_OF_3_10, 0, 1)
		    : (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_bpf, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = { .len = 4, .filter = program };

	if (argc < 3 || (!old && strcmp(argv[1], "bpf"))) {
		fprintf(stderr, "without bpf|new COMMAND...\n");
		return 2;
	}
	/* Root needs no PR_SET_NO_NEW_PRIVS, which would change what the command may do. */
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter)) {
		perror("seccomp");
		return 1;
	}
	execvp(argv[2], argv + 2);
	perror(argv[2]);
	return 127;
}
