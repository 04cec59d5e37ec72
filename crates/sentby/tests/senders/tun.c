// A device's user-space end: packets written here come *in* from the device, as from
// a VPN, and this process has sent none of them: tun IFACE SRC DST ID COUNT.
// Says "ready" once the interface exists; then, at a line on stdin, writes.
#include "common.h"
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

int main(int argc, char **argv)
{
	struct ifreq ifr = { 0 };
	char line[16];
	int fd, i;

	if (argc != 6)
		usage("tun IFACE SRC DST ID COUNT");
	fd = open("/dev/net/tun", O_RDWR);
	if (fd < 0)
		return EXIT_UNSUPPORTED;
	ifr.ifr_flags = IFF_TUN | IFF_NO_PI;
	strncpy(ifr.ifr_name, argv[1], IFNAMSIZ - 1);
	if (ioctl(fd, TUNSETIFF, &ifr))
		die("TUNSETIFF");
	printf("ready\n");
	if (!await_line(line, sizeof(line)))
		return 1;
	for (i = 1; i <= atoi(argv[5]); i++) {
		uint8_t packet[84] = { 0 };
		struct iphdr *ip = (struct iphdr *)packet;

		ip->version = 4;
		ip->ihl = 5;
		ip->tot_len = htons(sizeof(packet));
		ip->ttl = 64;
		ip->protocol = IPPROTO_ICMP;
		ip->saddr = inet_addr(argv[2]);
		ip->daddr = inet_addr(argv[3]);
		ip->check = checksum(ip, sizeof(*ip));
		fill_echo(packet + sizeof(*ip), 64, AF_INET, (uint16_t)atoi(argv[4]), (uint16_t)i);
		if (write(fd, packet, sizeof(packet)) != sizeof(packet))
			die("write");
	}
	printf("written\n");
	// The interface lives as long as its descriptor.
	await_line(line, sizeof(line));
	return 0;
}
