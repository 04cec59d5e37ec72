// DNS queries, several at a time: query sendmmsg|gso DEST PORT
//   sendmmsg  asks for one.example, two.example and six.example, a datagram each
//   gso       the same by one send, which the device cuts (UDP_SEGMENT)
#include "common.h"

#define COUNT 3
#define UDP_SEGMENT 103 // linux/udp.h, since 4.18

static size_t query(uint8_t *at, const char *name, uint16_t id)
{
	uint8_t head[12] = { (uint8_t)(id >> 8), (uint8_t)id, 1, 0, 0, 1 };
	uint8_t tail[] = { 7, 'e', 'x', 'a', 'm', 'p', 'l', 'e', 0, 0, 1, 0, 1 };

	memcpy(at, head, sizeof(head));
	at[12] = (uint8_t)strlen(name);
	memcpy(at + 13, name, strlen(name));
	memcpy(at + 13 + strlen(name), tail, sizeof(tail));
	return 13 + strlen(name) + sizeof(tail);
}

int main(int argc, char **argv)
{
	static const char *const names[COUNT] = { "one", "two", "six" };
	struct iovec iov[COUNT];
	struct mmsghdr msgs[COUNT] = { 0 };
	uint8_t buf[COUNT * 64];
	size_t size = 0;
	struct dest d;
	int fd, i;

	if (argc != 4)
		usage("query sendmmsg|gso DEST PORT");
	d = parse_dest(argv[2]);
	d.in.sin_port = htons((uint16_t)atoi(argv[3])); // where an IPv6 address has it, too
	for (i = 0; i < COUNT; i++) {
		iov[i].iov_base = buf + size;
		iov[i].iov_len = query(buf + size, names[i], (uint16_t)(i + 1));
		size += iov[i].iov_len;
		msgs[i].msg_hdr.msg_iov = &iov[i];
		msgs[i].msg_hdr.msg_iovlen = 1;
	}
	fd = socket(d.sa.sa_family, SOCK_DGRAM, 0);
	if (fd < 0 || connect(fd, &d.sa, d.len))
		die("connect");
	if (!strcmp(argv[1], "sendmmsg")) {
		if (sendmmsg(fd, msgs, COUNT, 0) != COUNT)
			die("sendmmsg");
		return 0;
	}
	i = (int)iov[0].iov_len;
	if (setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &i, sizeof(i)))
		return EXIT_UNSUPPORTED;
	if (send(fd, buf, size, 0) != (ssize_t)size)
		die("send");
	return 0;
}
