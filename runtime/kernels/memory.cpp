// Memory for packed weights and adapters. A decode streams all of them once, and with 4 KiB pages the page
// walks cost a quarter of the bandwidth. So on Linux they come from large aligned mappings that ask for huge
// pages, each shared by many weights: with a mapping of its own, a weight of a few megabytes would lie on
// small pages for a good part. Room is never used twice: a freed range goes back to the system at once, and
// its mapping with the last range in it.
//
// The list of mappings belongs to the process, like malloc's; a mutex guards it.
#include "internal.h"
#include <stdlib.h>

#if defined(__linux__)
#include <mutex>
#include <new>
#include <sys/mman.h>

namespace {

const size_t PAGE = 64 << 10, HUGE_PAGE = 2 << 20, MAPPING = 64 << 20; // PAGE: no system has larger ones

struct mapping {
    mapping * next;
    uint8_t * data; // aligned to HUGE_PAGE
    size_t size, used;
    int live; // allocations not yet freed
};

std::mutex mutex;
mapping * mappings;

size_t round_up(size_t n, size_t to) { return (n + to - 1)/to*to; }

mapping * map(size_t size) {
    void * p = mmap(nullptr, size + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        return nullptr;
    }
    uint8_t * begin = (uint8_t *) p, * data = (uint8_t *) round_up((size_t) p, HUGE_PAGE);
    if (data > begin) {
        munmap(begin, data - begin);
    }
    munmap(data + size, begin + HUGE_PAGE - data);
    madvise(data, size, MADV_HUGEPAGE); // a wish: without it the memory is as good, only slower
    mapping * m = new (std::nothrow) mapping();
    if (!m) {
        munmap(data, size);
        return nullptr;
    }
    m->data = data;
    m->size = size;
    m->next = mappings;
    return mappings = m;
}

} // namespace

void * lk_alloc(size_t bytes) {
    bytes = lk_align(bytes);
    std::lock_guard<std::mutex> lock(mutex);
    mapping * m = mappings;
    while (m && m->size - m->used < bytes) {
        m = m->next;
    }
    if (!m) {
        m = map(bytes > MAPPING ? round_up(bytes, HUGE_PAGE) : MAPPING);
    }
    if (!m) {
        return nullptr;
    }
    void * p = m->data + m->used; // fresh, so the system gives it zeroed
    m->used += bytes;
    m->live++;
    return p;
}

void lk_free(void * p, size_t bytes) {
    uint8_t * begin = (uint8_t *) p, * end = begin + lk_align(bytes);
    std::lock_guard<std::mutex> lock(mutex);
    mapping ** at = &mappings;
    while (begin < (*at)->data || begin >= (*at)->data + (*at)->size) {
        at = &(*at)->next;
    }
    mapping * m = *at;
    if (--m->live == 0) {
        *at = m->next;
        munmap(m->data, m->size);
        delete m;
        return;
    }
    uint8_t * first = (uint8_t *) round_up((size_t) begin, PAGE), * last = (uint8_t *) ((size_t) end/PAGE*PAGE);
    if (first < last) {
        madvise(first, last - first, MADV_DONTNEED);
    }
}

#else

void * lk_alloc(size_t bytes) {
    bytes = lk_align(bytes);
    void * p = aligned_alloc(64, bytes);
    if (p) {
        memset(p, 0, bytes);
    }
    return p;
}

void lk_free(void * p, size_t) { free(p); }

#endif
