// Sends from a thread that is not the leader: thread DEST ID.
// Seq 1 while the leader lives, seq 2 after the leader has exited (and is a zombie
// that keeps the pid). Says "tid N".
#include "common.h"
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static struct dest dest;
static uint16_t id;

static void *worker(void *unused)
{
	char path[64], stat[512];
	int fd = icmp_socket(dest.sa.sa_family, SOCK_RAW);

	prctl(PR_SET_NAME, "e2e-worker");
	printf("tid %ld\n", (long)syscall(SYS_gettid));
	fflush(stdout);
	send_echo(fd, &dest, id, 1);
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", getpid());
	for (;;) {
		FILE *f = fopen(path, "r");
		char *state;
		size_t n;

		if (!f)
			die(path);
		n = fread(stat, 1, sizeof(stat) - 1, f);
		fclose(f);
		stat[n] = 0;
		state = strrchr(stat, ')');
		if (state && state[2] == 'Z')
			break;
		usleep(1000);
	}
	send_echo(fd, &dest, id, 2);
	_exit(0);
	return unused;
}

int main(int argc, char **argv)
{
	pthread_t thread;

	if (argc != 3)
		usage("thread DEST ID");
	dest = parse_dest(argv[1]);
	id = (uint16_t)atoi(argv[2]);
	if (pthread_create(&thread, NULL, worker, NULL))
		die("pthread_create");
	pthread_exit(NULL);
}
