/*
 * Preloaded into the lab kernel in virtual time: its randomness comes from a seed.
 *
 * User-Mode Linux fills its entropy pool from the host's getrandom() and, through its hardware generator, from
 * /dev/random. Here the first becomes a stream computed from IPPRIV_LAB_SEED and the second reads zeros, so that
 * equal seeds give equal bytes everywhere in the guest. For experiments only: nothing here is secret.
 *
 * The kernel mixes its command line into its randomness too, and with it the path of the guest's first process, which
 * differs from one checkout to the next. So the command line has FIRST, and what the guest finds there is the file
 * that IPPRIV_LAB_FIRST names.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define FIRST "/.ippriv-lab-first"

static uint64_t state;
static int seeded;

/* SplitMix64 (Steele, Lea, Flood 2014): one step of a counter, then a mix of its bits. */
static uint64_t next(void)
{
	uint64_t z;

	state += 0x9e3779b97f4a7c15;
	z = state;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

ssize_t getrandom(void *buffer, size_t length, unsigned int flags)
{
	unsigned char *out = buffer;
	size_t done = 0;

	(void)flags;
	if (!seeded) {
		const char *seed = getenv("IPPRIV_LAB_SEED");

		state = seed ? strtoull(seed, NULL, 10) : 0;
		seeded = 1;
	}
	while (done < length) {
		uint64_t word = next();
		size_t part = length - done < sizeof(word) ? length - done : sizeof(word);

		memcpy(out + done, &word, part);
		done += part;
	}
	return (ssize_t)length;
}

/* The file that stands for `path`. The guest's root may come with more than one slash. */
static const char *instead_of(const char *path)
{
	const char *first = getenv("IPPRIV_LAB_FIRST");

	if (!path)
		return path;
	if (strcmp(path, "/dev/random") == 0)
		return "/dev/zero";
	while (path[0] == '/' && path[1] == '/')
		path++;
	return first && strcmp(path, FIRST) == 0 ? first : path;
}

typedef int (*open_function)(const char *, int, ...);

int open(const char *path, int flags, ...)
{
	va_list rest;
	mode_t mode;

	va_start(rest, flags);
	mode = va_arg(rest, mode_t);
	va_end(rest);
	return ((open_function)dlsym(RTLD_NEXT, "open"))(instead_of(path), flags, mode);
}

int open64(const char *path, int flags, ...)
{
	va_list rest;
	mode_t mode;

	va_start(rest, flags);
	mode = va_arg(rest, mode_t);
	va_end(rest);
	return ((open_function)dlsym(RTLD_NEXT, "open64"))(instead_of(path), flags, mode);
}

typedef int (*access_function)(const char *, int);

int access(const char *path, int mode)
{
	return ((access_function)dlsym(RTLD_NEXT, "access"))(instead_of(path), mode);
}

typedef int (*statx_function)(int, const char *, int, unsigned int, struct statx *);

int statx(int dir, const char *path, int flags, unsigned int mask, struct statx *found)
{
	statx_function real = (statx_function)dlsym(RTLD_NEXT, "statx");

	return real(dir, instead_of(path), flags, mask, found);
}
