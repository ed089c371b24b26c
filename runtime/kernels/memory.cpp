// Memory for packed weights and adapters. A decode streams all of them once, and with 4 KiB pages the page
// walks cost a quarter of the bandwidth. So on Linux they come from large aligned mappings that ask for huge
// pages.
//
// lk_alloc is for the weights of a base, which all go when it is closed. Many of them share a mapping: with one of its
// own, a weight of a few megabytes would lie on small pages for a good part. Room is not used twice: the whole pages of
// a freed range go back to the system at once, and its mapping with the last range in it. The list of mappings belongs to
// the process, like malloc's; a mutex guards it.
//
// An arena has mappings of its own, as large as what lies in them: what comes and goes in any order, as adapters do,
// neither shares pages nor leaves holes.
#include "internal.h"
#include <mutex>
#include <new>
#include <stdlib.h>

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>

namespace {

const size_t HUGE_PAGE = 2 << 20, MAPPING = 64 << 20;

struct mapping {
    mapping * next;
    uint8_t * data; // aligned to HUGE_PAGE
    size_t size, used;
    int live; // allocations not yet freed
};

std::mutex mutex;
mapping * mappings;

size_t round_up(size_t n, size_t to) { return (n + to - 1)/to*to; }

// size bytes, a multiple of the system's pages: zeros, and on huge pages as far as they fill any. NULL: no memory.
uint8_t * map_pages(size_t size) {
    const size_t slack = size >= HUGE_PAGE ? HUGE_PAGE : 0; // to begin where a huge page can
    void * p = mmap(nullptr, size + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        return nullptr;
    }
    uint8_t * begin = (uint8_t *) p;
    if (!slack) {
        return begin;
    }
    uint8_t * data = (uint8_t *) round_up((size_t) p, HUGE_PAGE);
    if (data > begin) {
        munmap(begin, data - begin);
    }
    if (data < begin + slack) {
        munmap(data + size, begin + slack - data);
    }
    madvise(data, size, MADV_HUGEPAGE); // a wish: without it the memory is as good, only slower
    return data;
}

void unmap_pages(uint8_t * data, size_t size) { munmap(data, size); }

size_t page_size() {
    static const size_t size = (size_t) sysconf(_SC_PAGESIZE);
    return size;
}

mapping * map(size_t size) {
    uint8_t * data = map_pages(size);
    if (!data) {
        return nullptr;
    }
    mapping * m = new (std::nothrow) mapping();
    if (!m) {
        unmap_pages(data, size);
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
        unmap_pages(m->data, m->size);
        delete m;
        return;
    }
    uint8_t * first = (uint8_t *) round_up((size_t) begin, page_size()), * last = (uint8_t *) ((size_t) end/page_size()*page_size());
    if (first < last) {
        madvise(first, last - first, MADV_DONTNEED);
    }
}

#else

static uint8_t * map_pages(size_t size) {
    void * p = aligned_alloc(64, size);
    if (p) {
        memset(p, 0, size);
    }
    return (uint8_t *) p;
}

static void unmap_pages(uint8_t * data, size_t) { free(data); }
static size_t page_size() { return 4096; }
static size_t round_up(size_t n, size_t to) { return (n + to - 1)/to*to; }

void * lk_alloc(size_t bytes) { return map_pages(lk_align(bytes)); }

void lk_free(void * p, size_t) { free(p); }

#endif

// ---- arenas ----------------------------------------------------------------------------------------

namespace {

// A mapping of an arena; `used` of its bytes are taken, from the first on.
struct block {
    block * next;
    uint8_t * data;
    size_t size, used;
};

} // namespace

struct lk_arena {
    std::mutex mutex;
    block * blocks = nullptr; // the last one first
    size_t bytes = 0;         // of all blocks
};

// Adds a block. The caller has the mutex, or is alone. False: no memory.
static bool grow(lk_arena * a, size_t bytes) {
    block * b = new (std::nothrow) block();
    if (!b) {
        return false;
    }
    b->size = round_up(bytes, page_size());
    b->data = map_pages(b->size);
    if (!b->data) {
        delete b;
        return false;
    }
    b->next = a->blocks;
    a->blocks = b;
    a->bytes += b->size;
    return true;
}

lk_arena * lk_arena_new(size_t bytes) {
    lk_arena * a = new (std::nothrow) lk_arena();
    if (a && bytes > 0 && !grow(a, bytes)) {
        delete a;
        return nullptr;
    }
    return a;
}

void * lk_arena_alloc(lk_arena * a, size_t bytes) {
    bytes = lk_arena_need(bytes);
    std::lock_guard<std::mutex> lock(a->mutex);
    block * b = a->blocks;
    while (b && b->size - b->used < bytes) {
        b = b->next;
    }
    if (!b) {
        if (!grow(a, bytes)) {
            return nullptr;
        }
        b = a->blocks;
    }
    void * p = b->data + b->used; // fresh, so the system gives it zeroed
    b->used += bytes;
    return p;
}

size_t lk_arena_need(size_t bytes) { return lk_align(bytes > 0 ? bytes : 1); }

size_t lk_arena_bytes(const lk_arena * a) { return a->bytes; }

void lk_arena_free(lk_arena * a) {
    while (a && a->blocks) {
        block * b = a->blocks;
        a->blocks = b->next;
        unmap_pages(b->data, b->size);
        delete b;
    }
    delete a;
}
