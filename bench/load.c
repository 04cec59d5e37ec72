// SPDX-License-Identifier: MIT OR Apache-2.0
// The load that the benches measure.
//   load udp          to a port whose receiver never reads
//   load icmp         echo requests through one raw socket
//   load tcp SIZE     writes of so many bytes that begin no request, each sent at once
//   load spawn COUNT  processes that send one echo request each
//   load once ID      one of these
// The first three read lines `PACKETS BURSTS PAUSE_MS`, and print for each burst the CPU
// time of one packet (write) in nanoseconds (on loopback that is all of it, also what hooks
// add), then an empty line. One process for a whole bench: two are never equally fast.
#include <arpa/inet.h>
#include <errno.h>
#include <linux/icmp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static struct sockaddr_in to = { .sin_family = AF_INET };

static void die(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void pause_ms(int ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000L };

	if (ms)
		nanosleep(&t, NULL);
}

static int udp_socket(void)
{
	int receiver = socket(AF_INET, SOCK_DGRAM, 0);
	int sender = socket(AF_INET, SOCK_DGRAM, 0);
	socklen_t len = sizeof(to);

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (receiver < 0 || sender < 0 || bind(receiver, (void *)&to, len) ||
	    getsockname(receiver, (void *)&to, &len) || connect(sender, (void *)&to, len))
		die("UDP sockets");
	return sender;
}

static int icmp_socket(void)
{
	int fd = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
	struct icmp_filter none = { .data = ~0U };

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || setsockopt(fd, SOL_RAW, ICMP_FILTER, &none, sizeof(none)) ||
	    connect(fd, (void *)&to, sizeof(to)))
		die("raw socket");
	return fd;
}

static uint16_t checksum(const void *bytes, size_t n)
{
	const uint16_t *word = bytes;
	uint32_t sum = 0;

	for (; n > 1; n -= 2)
		sum += *word++;
	sum = (sum >> 16) + (sum & 0xffff);
	return (uint16_t)~(sum + (sum >> 16));
}

// An echo request of the size that ping sends.
static void send_packet(int fd, int icmp, uint16_t id, uint32_t seq)
{
	struct {
		struct icmphdr head;
		char data[56];
	} p = { .head = { .type = ICMP_ECHO } };

	p.head.un.echo.id = htons(id);
	p.head.un.echo.sequence = htons((uint16_t)seq);
	if (icmp)
		p.head.checksum = checksum(&p, sizeof(p));
	// Its own packet coming back is no error here.
	if (send(fd, &p, sizeof(p), 0) < 0 && errno != ECONNREFUSED && errno != ENOBUFS)
		die("send");
}

// One that is connected to a child, which throws away what comes.
static int tcp_socket(void)
{
	int listener = socket(AF_INET, SOCK_STREAM, 0), sender = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t len = sizeof(to);
	int one = 1, fd;

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (listener < 0 || sender < 0 || bind(listener, (void *)&to, len) ||
	    getsockname(listener, (void *)&to, &len) || listen(listener, 1) ||
	    connect(sender, (void *)&to, len) ||
	    setsockopt(sender, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) ||
	    // Does not pace: what is written is sent by whom it is written.
	    setsockopt(sender, IPPROTO_TCP, TCP_CONGESTION, "reno", 4))
		die("TCP sockets");
	fd = accept(listener, NULL, NULL);
	if (fd < 0)
		die("accept");
	switch (fork()) {
	case -1:
		die("fork");
	case 0:
		close(sender);
		// Without a copy (tcp(7)).
		while (recv(fd, NULL, 1 << 20, MSG_TRUNC) > 0)
			;
		_exit(0);
	}
	close(fd);
	close(listener);
	return sender;
}

static void write_all(int fd, size_t size)
{
	static const char data[1 << 20];
	ssize_t n;

	for (size_t left = size; left; left -= (size_t)n) {
		n = write(fd, data, left);
		if (n < 0)
			die("write");
	}
}

static void flood(int fd, int icmp, size_t size)
{
	int count, bursts, ms;
	uint32_t seq = 0;

	while (scanf("%d %d %d", &count, &bursts, &ms) == 3) {
		for (int b = 0; b < bursts; b++) {
			uint64_t began;

			pause_ms(ms);
			began = cpu_ns();
			for (int i = 0; i < count; i++)
				if (size)
					write_all(fd, size);
				else
					send_packet(fd, icmp, (uint16_t)getpid(), seq++);
			printf("%.1f\n", (double)(cpu_ns() - began) / count);
		}
		printf("\n");
		fflush(stdout);
	}
}

static void spawn_all(int count)
{
	for (int i = 0; i < count; i++) {
		char id[16];
		char *argv[] = { "load", "once", id, NULL };
		pid_t child;

		snprintf(id, sizeof(id), "%d", i);
		if (posix_spawn(&child, "/proc/self/exe", NULL, NULL, argv, environ))
			die("spawn");
		if (waitpid(child, NULL, 0) < 0)
			die("wait");
	}
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	int count = argc > 2 ? atoi(argv[2]) : 0;

	if (!strcmp(what, "udp"))
		flood(udp_socket(), 0, 0);
	else if (!strcmp(what, "icmp"))
		flood(icmp_socket(), 1, 0);
	else if (!strcmp(what, "tcp") && count > 0 && count <= 1 << 20)
		flood(tcp_socket(), 0, (size_t)count);
	else if (!strcmp(what, "spawn") && count)
		spawn_all(count);
	else if (!strcmp(what, "once"))
		send_packet(icmp_socket(), 1, (uint16_t)count, 1);
	else
		return fprintf(stderr, "load udp|icmp, load tcp SIZE, load spawn COUNT, load once ID\n"), 2;
	return 0;
}
