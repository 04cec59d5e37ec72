// Sends one echo request and is gone: oneshot DEST ID SEQ [anything…].
// The rest of the command line is for the observer alone.
#include "common.h"

int main(int argc, char **argv)
{
	struct dest d;

	if (argc < 4)
		usage("oneshot DEST ID SEQ [ANYTHING...]");
	d = parse_dest(argv[1]);
	send_echo(icmp_socket(d.sa.sa_family, SOCK_RAW), &d, (uint16_t)atoi(argv[2]),
		  (uint16_t)atoi(argv[3]));
	_exit(0);
}
