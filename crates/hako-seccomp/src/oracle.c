/* Test helper: libseccomp's own translation of a profile, and the kernel's
 * opinion of a program.
 *
 * "compile": reads lines from stdin, writes BPF to stdout, unknown names to
 * stderr.
 *   default ACTION
 *   arch NAME            (in place of the native one, any number of lines)
 *   rule ACTION NAME COUNT {INDEX OP VALUE VALUE2}
 * "install": reads BPF from stdin, installs it and prints what some calls do.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int fail(const char *what, int error)
{
	fprintf(stderr, "error %s: %s\n", what, strerror(error));
	return 2;
}

static int compile(void)
{
	scmp_filter_ctx ctx = NULL;
	char word[64];
	int native = 1;
	uint32_t arches[8];
	unsigned int arch_count = 0, a;

	while (scanf("%63s", word) == 1) {
		if (strcmp(word, "default") == 0) {
			unsigned int action;
			if (scanf("%u", &action) != 1)
				return fail("default", EINVAL);
			ctx = seccomp_init(action);
			if (ctx == NULL)
				return fail("seccomp_init", EINVAL);
			seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
		} else if (strcmp(word, "arch") == 0) {
			if (scanf("%63s", word) != 1)
				return fail("arch", EINVAL);
			int rc;
			if (native) {
				seccomp_arch_remove(ctx, SCMP_ARCH_NATIVE);
				native = 0;
			}
			if (arch_count == 8)
				return fail("too many architectures", EINVAL);
			arches[arch_count] = seccomp_arch_resolve_name(word);
			rc = seccomp_arch_add(ctx, arches[arch_count++]);
			if (rc < 0)
				return fail(word, -rc);
		} else if (strcmp(word, "rule") == 0) {
			unsigned int action, count, i;
			char name[64];
			struct scmp_arg_cmp args[6];
			if (scanf("%u %63s %u", &action, name, &count) != 3 || count > 6)
				return fail("rule", EINVAL);
			for (i = 0; i < count; i++) {
				unsigned int index, op;
				unsigned long long a, b;
				if (scanf("%u %u %llu %llu", &index, &op, &a, &b) != 4)
					return fail("argument", EINVAL);
				args[i] = SCMP_CMP64(index, op, a, b);
			}
			int nr = seccomp_syscall_resolve_name(name);
			if (nr == __NR_SCMP_ERROR) {
				fprintf(stderr, "unknown %s\n", name);
				continue;
			}
			/* Known, but without a number on some architecture. */
			for (a = 0; a < arch_count; a++)
				if (seccomp_syscall_resolve_name_arch(arches[a], name) < -1000)
					fprintf(stderr, "lacks %u %s\n", a, name);
			int rc = seccomp_rule_add_array(ctx, action, nr, count, args);
			if (rc < 0)
				return fail(name, -rc);
		}
	}
	int rc = seccomp_export_bpf(ctx, 1);
	return rc < 0 ? fail("seccomp_export_bpf", -rc) : 0;
}

static void show(const char *what, long result)
{
	printf("%s %ld\n", what, result < 0 ? -(long)errno : result);
}

static int install(void)
{
	static struct sock_filter program[4097];
	size_t bytes = fread(program, 1, sizeof(program), stdin);
	struct sock_fprog fprog = { bytes / sizeof(program[0]), program };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return fail("no_new_privs", errno);
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &fprog) != 0)
		return fail("seccomp", errno);
	show("getppid", syscall(SYS_getppid) > 0);
	show("unshare", syscall(SYS_unshare, CLONE_NEWUTS));
	show("clone", syscall(SYS_clone, CLONE_NEWUSER, 0, 0, 0, 0));
	show("clone3", syscall(SYS_clone3, 0, 0));
	show("vsock", syscall(SYS_socket, 40, 1, 0));
	show("vsock-high", syscall(SYS_socket, 40UL | 1UL << 32, 1, 0));
	show("unix", syscall(SYS_socket, 1, 1, 0) >= 0);
	show("personality", syscall(SYS_personality, 0xffffffffUL) >= 0);
	show("personality-4", syscall(SYS_personality, 4UL));
	show("newer", syscall(1000));
	show("keyctl", syscall(SYS_keyctl, 0, 0, 0, 0, 0));
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "compile") == 0)
		return compile();
	if (argc == 2 && strcmp(argv[1], "install") == 0)
		return install();
	return 1;
}
