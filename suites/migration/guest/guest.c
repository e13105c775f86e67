// SPDX-License-Identifier: GPL-2.0
/*
 * A guest that notices if migration loses a page. It rewrites the pages of its
 * working set, in rounds: each page once in a round. The number of writes is in a
 * register and nowhere else, so it travels with the vCPU and not in memory. It
 * tells how often each page must have been written by now, and each page says
 * how often it was. A page that was left behind says less.
 *
 * In between, pages are verified; after each sweep over all of them a line on
 * the serial port tells:
 *
 *	tick N writes W bad B
 *
 * What to do is given by the machine, as the fw_cfg file opt/dirty: five decimal
 * numbers, in this order (struct job).
 */
#include <stddef.h>
#include <stdint.h>

#define PAGE_SIZE	4096
#define PAGE_WORDS	(PAGE_SIZE / sizeof(uint32_t))
#define LINE_WORDS	16
#define MEMORY		((uint8_t *)0x1000000)	/* above the holes of a PC */

#define SERIAL		0x3f8
#define SERIAL_LSR	(SERIAL + 5)
#define LSR_THRE	0x20
#define FW_CFG_SELECT	0x510
#define FW_CFG_DATA	0x511
#define FW_CFG_DIR	0x19
#define FW_CFG_NAME	56

/* -ffixed-ebx keeps the compiler from using it for anything else. */
register uint32_t writes asm("ebx");

static struct job {
	uint32_t shift;		/* the working set has 1 << shift pages */
	uint32_t stride;	/* of which this many pages make one */
	uint32_t random;	/* the order in a round: 0 by address, 1 random */
	uint32_t pause;		/* turns of an idle loop after each write */
	uint32_t verify;	/* one page is verified after this many writes */
} job;

static uint32_t tick, bad;

struct page {
	uint32_t generation;	/* how often it was written */
	uint32_t hash;		/* of lines[] */
	uint32_t unused[LINE_WORDS - 2];
	uint32_t lines[PAGE_WORDS - LINE_WORDS];
};

#define LINES	(sizeof(((struct page *)0)->lines) / sizeof(uint32_t) / LINE_WORDS)

static inline void out8(uint16_t port, uint8_t value)
{
	asm volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline void out16(uint16_t port, uint16_t value)
{
	asm volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t in8(uint16_t port)
{
	uint8_t value;

	asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static void put_char(char c)
{
	while (!(in8(SERIAL_LSR) & LSR_THRE))
		;
	out8(SERIAL, c);
}

static void put(const char *s)
{
	while (*s)
		put_char(*s++);
}

static void put_number(uint32_t n)
{
	char digits[10];
	int i = 0;

	do
		digits[i++] = '0' + n % 10;
	while (n /= 10);
	while (i)
		put_char(digits[--i]);
}

static void put_field(const char *name, uint32_t n)
{
	put(name);
	put_number(n);
}

static uint32_t fw_cfg_number(int bytes)
{
	uint32_t n = 0;

	while (bytes--)
		n = n << 8 | in8(FW_CFG_DATA);
	return n;
}

/* The next decimal number of the selected file, which ends with a zero. */
static uint32_t next_number(void)
{
	uint32_t n = 0;
	uint8_t c;

	while ((c = in8(FW_CFG_DATA)) >= '0' && c <= '9')
		n = n * 10 + c - '0';
	return n;
}

static int fw_cfg_name_is(const char *name)
{
	int i, same = 1;

	for (i = 0; i < FW_CFG_NAME; i++) {
		if (in8(FW_CFG_DATA) != (uint8_t)*name)
			same = 0;
		if (*name)
			name++;
	}
	return same;
}

static int fw_cfg_select(const char *name)
{
	uint32_t n, file;

	out16(FW_CFG_SELECT, FW_CFG_DIR);
	for (n = fw_cfg_number(4); n; n--) {
		fw_cfg_number(4);		/* size */
		file = fw_cfg_number(2);
		fw_cfg_number(2);		/* reserved */
		if (fw_cfg_name_is(name)) {
			out16(FW_CFG_SELECT, file);
			return 1;
		}
	}
	return 0;
}

static inline uint32_t pages(void)
{
	return 1u << job.shift;
}

static inline struct page *page(uint32_t i)
{
	return (struct page *)(MEMORY + i * job.stride * PAGE_SIZE);
}

/* Odd numbers, and FACTOR * INVERSE is 1 mod 2^32. */
#define FACTOR	0x9e3779b1u
#define INVERSE	0x0e8b2f51u
#define STEP	0x85ebca6bu

/* Its own inverse, as it moves by half of the bits at least. */
static inline uint32_t fold(uint32_t x)
{
	return x ^ x >> (job.shift + 1) / 2;
}

/* The page that is written in a round at a position, and back. */
static uint32_t page_at(uint32_t round, uint32_t position)
{
	uint32_t mask = pages() - 1;

	if (!job.random)
		return position;
	return fold((fold(position) * FACTOR + round * STEP) & mask);
}

static uint32_t position_of(uint32_t round, uint32_t i)
{
	uint32_t mask = pages() - 1;

	if (!job.random)
		return i;
	return fold(((fold(i) - round * STEP) * INVERSE) & mask);
}

/* How often page i must have been written by now. */
static uint32_t expected(uint32_t i)
{
	uint32_t round = writes >> job.shift;

	return round + (position_of(round, i) < (writes & (pages() - 1)));
}

/* The part of the hash that word k of the lines makes. */
static inline uint32_t part(const struct page *p, uint32_t k)
{
	return p->lines[k] * (2 * k + 1);
}

static void write_page(uint32_t i)
{
	struct page *p = page(i);
	uint32_t g = p->generation + 1, hash = p->hash;
	uint32_t first = g % LINES * LINE_WORDS, k;

	for (k = first; k < first + LINE_WORDS; k++) {
		hash -= part(p, k);
		p->lines[k] = (i * FACTOR + g) * STEP + k;
		hash += part(p, k);
	}
	p->hash = hash;
	p->generation = g;
}

static void report(uint32_t i, const char *what, uint32_t found, uint32_t right)
{
	if (bad++ >= 8)
		return;
	put_field("page ", i);
	put(what);
	put_field(" ", found);
	put_field(" instead of ", right);
	put("\n");
}

static void verify_page(uint32_t i)
{
	const struct page *p = page(i);
	uint32_t hash = 0, k;

	if (p->generation != expected(i))
		report(i, " has generation", p->generation, expected(i));
	for (k = 0; k < LINES * LINE_WORDS; k++)
		hash += part(p, k);
	if (hash != p->hash)
		report(i, " has hash", hash, p->hash);
}

/* Verify the next page; after the last one, tell. */
static void verify_next(void)
{
	static uint32_t next;

	verify_page(next++);
	if (next < pages())
		return;
	next = 0;
	put_field("tick ", tick++);
	put_field(" writes ", writes);
	put_field(" bad ", bad);
	put("\n");
}

static void write_next(void)
{
	uint32_t round = writes >> job.shift, n;

	write_page(page_at(round, writes & (pages() - 1)));
	writes++;
	for (n = job.pause; n; n--)
		asm volatile("");
}

static void read_job(void)
{
	if (!fw_cfg_select("opt/dirty")) {
		put("no fw_cfg file opt/dirty\n");
		for (;;)
			asm volatile("hlt");
	}
	job.shift = next_number();
	job.stride = next_number();
	job.random = next_number();
	job.pause = next_number();
	job.verify = next_number();
}

void guest_main(void)
{
	uint32_t n;

	writes = 0;
	read_job();
	put_field("start: pages ", pages());
	put_field(" stride ", job.stride);
	put_field(" random ", job.random);
	put_field(" pause ", job.pause);
	put_field(" verify ", job.verify);
	put("\n");
	/* No interrupt will come; but a host can then take its CPU back. */
	out8(0x21, 0xff);
	out8(0xa1, 0xff);
	asm volatile("sti");
	for (;;) {
		for (n = job.verify; n; n--)
			write_next();
		verify_next();
	}
}
