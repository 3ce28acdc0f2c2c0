/* Counts the live blocks of the C library's heap, in which Node has its own. os.getPriority() returns the count. */

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *block, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *block);

static atomic_int live;

static void *counted(void *block) {
  if (block != NULL) live++;
  return block;
}

void *malloc(size_t size) { return counted(__libc_malloc(size)); }

void *calloc(size_t count, size_t size) { return counted(__libc_calloc(count, size)); }

void *memalign(size_t alignment, size_t size) { return counted(__libc_memalign(alignment, size)); }

void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **block, size_t alignment, size_t size) {
  *block = memalign(alignment, size);
  return *block == NULL ? ENOMEM : 0;
}

void *realloc(void *block, size_t size) {
  void *moved = __libc_realloc(block, size);
  if (block == NULL) return counted(moved);
  if (moved == NULL && size == 0) live--;
  return moved;
}

void free(void *block) {
  if (block != NULL) live--;
  __libc_free(block);
}

int getpriority(int which, unsigned who) {
  (void)which;
  (void)who;
  return live;
}
