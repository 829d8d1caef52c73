/*
 * The first process of a machine that runs the distribution's kernel: it loads the modules that reaching the host's
 * files needs, makes those files the root, and becomes the program that IPPRIV_LAB_FIRST names.
 *
 * It is the only program of the machine's initial file system, so it is linked statically.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define COMPRESSED 4 /* MODULE_INIT_COMPRESSED_FILE of linux/module.h */

static void fail(const char *what)
{
	printf("first: cannot %s: %s\n", what, strerror(errno));
	fflush(stdout);
	reboot(RB_POWER_OFF);
	_exit(1);
}

static void load(int file)
{
	char magic[4] = "";
	int plain = pread(file, magic, sizeof(magic), 0) == sizeof(magic) && !memcmp(magic, "\177ELF", sizeof(magic));

	if (syscall(SYS_finit_module, file, "", plain ? 0 : COMPRESSED) && errno != EEXIST)
		fail("load a module");
}

int main(void)
{
	const char *program = getenv("IPPRIV_LAB_FIRST");
	char path[64];
	int number, file;

	for (number = 0;; number++) {
		snprintf(path, sizeof(path), "/modules/%d", number);
		file = open(path, O_RDONLY | O_CLOEXEC);
		if (file < 0)
			break;
		load(file);
		close(file);
	}
	/* Files of the host do not change while the machine runs, so they may be cached. */
	if (mkdir("/host", 0755) ||
	    mount("host", "/host", "9p", MS_RDONLY, "trans=virtio,version=9p2000.L,cache=loose,msize=512000"))
		fail("mount the host's files");
	if (chdir("/host") || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
		fail("enter the host's files");
	errno = EINVAL;
	if (program)
		execl(program, program, (char *)NULL);
	fail("run IPPRIV_LAB_FIRST");
}
