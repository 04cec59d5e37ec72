// Takes a name of any bytes (PR_SET_NAME), then sends: rename DEST ID SEQ HEX.
#include "common.h"
#include <sys/prctl.h>

int main(int argc, char **argv)
{
	char name[16] = { 0 };
	struct dest d;
	size_t i;

	if (argc != 5)
		usage("rename DEST ID SEQ HEX");
	for (i = 0; i < 15 && argv[4][2 * i]; i++) {
		unsigned byte;

		if (sscanf(argv[4] + 2 * i, "%2x", &byte) != 1)
			usage("HEX is pairs of hex digits");
		name[i] = (char)byte;
	}
	if (prctl(PR_SET_NAME, name))
		die("PR_SET_NAME");
	d = parse_dest(argv[1]);
	send_echo(icmp_socket(d.sa.sa_family, SOCK_RAW), &d, (uint16_t)atoi(argv[2]),
		  (uint16_t)atoi(argv[3]));
	return 0;
}
