// Sends whole frames over AF_PACKET:
//   packet MODE IFACE SRC_MAC DST_MAC SRC DST ID COUNT
// MODE: raw     Ethernet frame
//       cooked  SOCK_DGRAM, the kernel adds the Ethernet header
//       vlan    one 802.1Q tag inside the frame
//       qinq    an 802.1ad and an 802.1Q tag
//       ring    PACKET_TX_RING: the IP header lies in a page, not in linear data
//       big     a frame of more than a page: the kernel builds it paged, too
#include "common.h"
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/mman.h>

#define FRAME 2048
#define BLOCK 4096

static size_t put_mac(uint8_t *at, const char *text)
{
	unsigned m[6];

	if (sscanf(text, "%x:%x:%x:%x:%x:%x", m, m + 1, m + 2, m + 3, m + 4, m + 5) != 6)
		usage("a MAC address is six hex bytes");
	for (int i = 0; i < 6; i++)
		at[i] = (uint8_t)m[i];
	return 6;
}

static size_t put_16(uint8_t *at, unsigned v)
{
	at[0] = (uint8_t)(v >> 8);
	at[1] = (uint8_t)v;
	return 2;
}

static size_t put_ip(uint8_t *at, const char *src, const char *dst, uint16_t id, uint16_t seq,
		     size_t payload)
{
	struct iphdr ip = { .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_ICMP };

	ip.tot_len = htons((uint16_t)(sizeof(ip) + payload));
	ip.saddr = inet_addr(src);
	ip.daddr = inet_addr(dst);
	ip.check = checksum(&ip, sizeof(ip));
	memcpy(at, &ip, sizeof(ip));
	fill_echo(at + sizeof(ip), payload, AF_INET, id, seq);
	return sizeof(ip) + payload;
}

static void send_by_ring(int fd, const struct sockaddr_ll *to, const uint8_t *frame, size_t len)
{
	struct tpacket_req req = { .tp_block_size = BLOCK, .tp_block_nr = 1,
				   .tp_frame_size = FRAME, .tp_frame_nr = BLOCK / FRAME };
	static uint8_t *ring;
	static unsigned next;
	struct tpacket_hdr *slot;

	if (!ring) {
		if (setsockopt(fd, SOL_PACKET, PACKET_TX_RING, &req, sizeof(req)))
			die("PACKET_TX_RING");
		ring = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (ring == MAP_FAILED)
			die("mmap");
		if (bind(fd, (const struct sockaddr *)to, sizeof(*to)))
			die("bind");
	}
	slot = (struct tpacket_hdr *)(ring + FRAME * (next++ % req.tp_frame_nr));
	memcpy((uint8_t *)slot + TPACKET_HDRLEN - sizeof(struct sockaddr_ll), frame, len);
	slot->tp_len = (unsigned)len;
	slot->tp_status = TP_STATUS_SEND_REQUEST;
	// Blocks until the frame is out.
	if (send(fd, NULL, 0, 0) < 0)
		die("send");
}

int main(int argc, char **argv)
{
	static uint8_t frame[16384];
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_halen = 6 };
	const char *mode;
	int fd, cooked, i;

	if (argc != 9)
		usage("packet MODE IFACE SRC_MAC DST_MAC SRC DST ID COUNT");
	mode = argv[1];
	cooked = !strcmp(mode, "cooked");
	to.sll_protocol = htons(ETH_P_IP);
	to.sll_ifindex = (int)if_nametoindex(argv[2]);
	put_mac(to.sll_addr, argv[4]);
	fd = socket(AF_PACKET, cooked ? SOCK_DGRAM : SOCK_RAW, 0);
	if (fd < 0)
		die("AF_PACKET");
	for (i = 1; i <= atoi(argv[8]); i++) {
		size_t n = 0, payload = strcmp(mode, "big") ? 64 : 8000;

		if (!cooked) {
			n += put_mac(frame + n, argv[4]);
			n += put_mac(frame + n, argv[3]);
		}
		if (!strcmp(mode, "qinq")) {
			n += put_16(frame + n, 0x88a8);
			n += put_16(frame + n, 7);
		}
		if (!strcmp(mode, "qinq") || !strcmp(mode, "vlan")) {
			n += put_16(frame + n, 0x8100);
			n += put_16(frame + n, 42);
		}
		if (!cooked)
			n += put_16(frame + n, ETH_P_IP);
		n += put_ip(frame + n, argv[5], argv[6], (uint16_t)atoi(argv[7]), (uint16_t)i,
			    payload);
		if (!strcmp(mode, "ring"))
			send_by_ring(fd, &to, frame, n);
		else if (sendto(fd, frame, n, 0, (struct sockaddr *)&to, sizeof(to)) != (ssize_t)n)
			die("sendto");
	}
	return 0;
}
