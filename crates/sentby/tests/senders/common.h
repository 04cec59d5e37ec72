// What every sender shares: addresses, checksums, echo requests, and dying loudly.
// Senders are linked statically, so that they start in well under a millisecond and
// run on any guest.
#ifndef SENTBY_SENDERS_COMMON_H
#define SENTBY_SENDERS_COMMON_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

// Exit status that the harness reads as "this kernel cannot do it".
#define EXIT_UNSUPPORTED 77

#define ICMP4_ECHO 8
#define ICMP6_ECHO 128

static inline void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static inline void usage(const char *text)
{
	fprintf(stderr, "usage: %s\n", text);
	exit(2);
}

struct dest {
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	};
	socklen_t len;
};

static inline struct dest parse_dest(const char *text)
{
	struct dest d;

	memset(&d, 0, sizeof(d));
	if (inet_pton(AF_INET, text, &d.in.sin_addr) == 1) {
		d.in.sin_family = AF_INET;
		d.len = sizeof(d.in);
	} else if (inet_pton(AF_INET6, text, &d.in6.sin6_addr) == 1) {
		d.in6.sin6_family = AF_INET6;
		d.len = sizeof(d.in6);
	} else {
		fprintf(stderr, "not an address: %s\n", text);
		exit(2);
	}
	return d;
}

static inline uint16_t checksum(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint32_t sum = 0;

	for (; len > 1; p += 2, len -= 2)
		sum += (uint32_t)p[0] << 8 | p[1];
	if (len)
		sum += (uint32_t)p[0] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

// Fills an ICMP message of `len` bytes (at least 4); the kernel computes the
// checksum of ICMPv6 on raw sockets.
static inline void fill_icmp(uint8_t *buf, size_t len, int family, int type, int code,
			     uint16_t id, uint16_t seq)
{
	uint8_t head[8] = { (uint8_t)type, (uint8_t)code, 0, 0, (uint8_t)(id >> 8),
			    (uint8_t)id, (uint8_t)(seq >> 8), (uint8_t)seq };
	uint16_t sum;

	memset(buf, 'e', len);
	memcpy(buf, head, len < 8 ? len : 8);
	if (family == AF_INET) {
		sum = checksum(buf, len);
		memcpy(buf + 2, &sum, 2);
	}
}

static inline void fill_echo(uint8_t *buf, size_t len, int family, uint16_t id, uint16_t seq)
{
	fill_icmp(buf, len, family, family == AF_INET ? ICMP4_ECHO : ICMP6_ECHO, 0, id, seq);
}

static inline int icmp_socket(int family, int type)
{
	int fd = socket(family, type | SOCK_CLOEXEC,
			family == AF_INET ? IPPROTO_ICMP : (int)IPPROTO_ICMPV6);

	if (fd < 0)
		die("socket");
	return fd;
}

// Sends one echo request with a 56-byte payload, as ping does.
static inline void send_echo(int fd, const struct dest *d, uint16_t id, uint16_t seq)
{
	uint8_t buf[64];

	fill_echo(buf, sizeof(buf), d->sa.sa_family, id, seq);
	if (sendto(fd, buf, sizeof(buf), 0, &d->sa, d->len) != sizeof(buf))
		die("sendto");
}

// Waits for the harness's go: one line on stdin. Returns 0 at its end.
static inline int await_line(char *line, size_t size)
{
	fflush(stdout);
	if (!fgets(line, (int)size, stdin))
		return 0;
	line[strcspn(line, "\n")] = 0;
	return 1;
}

#endif
