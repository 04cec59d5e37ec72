// SPDX-License-Identifier: MIT OR Apache-2.0
// Empty programs to measure against, and the kernel's own account of what programs
// cost. All of it is owned by file descriptors: nothing outlives this process.
//   probe cgroup PATH   `return 1` at cgroup_skb/egress of this cgroup
//   probe raw_tp NAME   `return 0` at a raw tracepoint
//   probe kprobe NAME   `return 0` at a function
//   probe stats         keeps the kernel's statistics switched on
// Each says "ready" and stays until its standard input ends or a signal comes.
//   probe list          prints ID NAME RUNS NANOSECONDS of every loaded program
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static void die(const char *what)
{
	fprintf(stderr, "probe: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int bpf(int command, union bpf_attr *attr)
{
	return (int)syscall(SYS_bpf, command, attr, sizeof(*attr));
}

static int empty_program(enum bpf_prog_type type, enum bpf_attach_type attach, int answer)
{
	struct bpf_insn code[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = answer },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr = {
		.prog_type = type,
		.expected_attach_type = attach,
		.insns = (uintptr_t)code,
		.insn_cnt = 2,
		.license = (uintptr_t)"GPL",
		.prog_name = "empty",
	};
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };
	int fd;

	setrlimit(RLIMIT_MEMLOCK, &all);
	fd = bpf(BPF_PROG_LOAD, &attr);
	if (fd < 0)
		die("BPF_PROG_LOAD");
	return fd;
}

static void at_cgroup(const char *path)
{
	union bpf_attr attr = { 0 };

	attr.link_create.prog_fd = (uint32_t)empty_program(BPF_PROG_TYPE_CGROUP_SKB, BPF_CGROUP_INET_EGRESS, 1);
	attr.link_create.target_fd = (uint32_t)open(path, O_RDONLY | O_DIRECTORY);
	attr.link_create.attach_type = BPF_CGROUP_INET_EGRESS;
	if (bpf(BPF_LINK_CREATE, &attr) < 0)
		die(path);
}

static void at_raw_tracepoint(const char *name)
{
	union bpf_attr attr = { 0 };

	attr.raw_tracepoint.prog_fd = (uint32_t)empty_program(BPF_PROG_TYPE_RAW_TRACEPOINT, 0, 0);
	attr.raw_tracepoint.name = (uintptr_t)name;
	if (bpf(BPF_RAW_TRACEPOINT_OPEN, &attr) < 0)
		die(name);
}

static void at_function(const char *name)
{
	struct perf_event_attr attr = { .size = sizeof(attr), .config1 = (uintptr_t)name };
	FILE *type = fopen("/sys/bus/event_source/devices/kprobe/type", "r");
	int fd;

	if (!type || fscanf(type, "%u", &attr.type) != 1)
		die("no kprobes here");
	fclose(type);
	fd = (int)syscall(SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);
	if (fd < 0 ||
	    ioctl(fd, PERF_EVENT_IOC_SET_BPF, empty_program(BPF_PROG_TYPE_KPROBE, 0, 0)) ||
	    ioctl(fd, PERF_EVENT_IOC_ENABLE, 0))
		die(name);
}

static void print_programs(void)
{
	union bpf_attr next = { 0 };

	while (!bpf(BPF_PROG_GET_NEXT_ID, &next)) {
		struct bpf_prog_info info = { 0 };
		union bpf_attr attr = { 0 };
		int fd;

		next.start_id = next.next_id;
		attr.prog_id = next.next_id;
		fd = bpf(BPF_PROG_GET_FD_BY_ID, &attr);
		if (fd < 0)
			continue;
		memset(&attr, 0, sizeof(attr));
		attr.info.bpf_fd = (uint32_t)fd;
		attr.info.info_len = sizeof(info);
		attr.info.info = (uintptr_t)&info;
		if (!bpf(BPF_OBJ_GET_INFO_BY_FD, &attr))
			printf("%u %s %llu %llu\n", info.id, info.name[0] ? info.name : "-",
			       (unsigned long long)info.run_cnt,
			       (unsigned long long)info.run_time_ns);
		close(fd);
	}
}

static void statistics(void)
{
	union bpf_attr attr = { .enable_stats = { .type = BPF_STATS_RUN_TIME } };

	if (bpf(BPF_ENABLE_STATS, &attr) < 0)
		die("BPF_ENABLE_STATS");
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (!strcmp(what, "list"))
		return print_programs(), 0;
	if (!strcmp(what, "stats"))
		statistics();
	else if (argc > 2 && !strcmp(what, "cgroup"))
		at_cgroup(argv[2]);
	else if (argc > 2 && !strcmp(what, "raw_tp"))
		at_raw_tracepoint(argv[2]);
	else if (argc > 2 && !strcmp(what, "kprobe"))
		at_function(argv[2]);
	else
		return fprintf(stderr, "probe cgroup|raw_tp|kprobe WHERE, probe stats|list\n"), 2;
	fprintf(stderr, "ready\n");
	while (getchar() != EOF)
		;
	return 0;
}
