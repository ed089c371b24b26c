// Memory for packed weights and adapters. A decode streams all of them once, and with 4 KiB pages the page
// walks cost a quarter of the bandwidth. So on Linux they come from large aligned mappings that ask for huge
// pages.
//
// lk_alloc is for the weights of a base, which are freed together when it is closed. Many of them share a mapping: with
// one of its own, a weight of a few megabytes would lie on small pages for a good part. The whole pages of a freed range
// go back to the system at once, the range is allocated again (first fit), and a mapping is unmapped with the last
// allocation in it. The list of mappings belongs to the process, like malloc's; a mutex guards it.
//
// An arena has mappings of its own, as large as what lies in them. Adapters, which are loaded and evicted in any order,
// lie in arenas, so that no two of them share a page and none leaves a gap.
#include "internal.h"
#include <mutex>
#include <new>
#include <stdlib.h>

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>

namespace {

const size_t HUGE_PAGE = 2 << 20, MAPPING = 64 << 20;

// A freed range of a mapping. It lies in the first bytes of the range itself, so that freeing needs no memory.
struct free_range {
    free_range * next; // at a higher address
    size_t size;       // a multiple of 64

    uint8_t * begin() { return (uint8_t *) this; }
    uint8_t * end() { return begin() + size; }
};

struct mapping {
    mapping * next;
    uint8_t * data; // aligned to HUGE_PAGE
    size_t size;
    size_t used;       // from here on nothing was ever allocated: zeros
    free_range * free; // below `used`, in the order of addresses; no two of them touch
    int live;          // allocations not yet freed
};

std::mutex mutex;
mapping * mappings;
size_t mapped; // bytes of all mappings

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
    madvise(data, size, MADV_HUGEPAGE); // where it fails, the memory is only slower
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
    mapped += size;
    return mappings = m;
}

// Gives the whole pages inside [begin, end) back to the system; they are zeros when they are touched again.
void drop_pages(uint8_t * begin, uint8_t * end) {
    uint8_t * first = (uint8_t *) round_up((size_t) begin, page_size()), * last = (uint8_t *) ((size_t) end/page_size()*page_size());
    if (first < last) {
        madvise(first, last - first, MADV_DONTNEED);
    }
}

// Takes the beginning of the first free range of m that is large enough. NULL: there is none.
uint8_t * take_free(mapping * m, size_t bytes) {
    for (free_range ** at = &m->free; *at; at = &(*at)->next) {
        free_range * r = *at;
        if (r->size < bytes) {
            continue;
        }
        if (r->size == bytes) {
            *at = r->next;
        } else {
            free_range * rest = (free_range *) (r->begin() + bytes);
            rest->next = r->next;
            rest->size = r->size - bytes;
            *at = rest;
        }
        memset((void *) r, 0, bytes);
        return (uint8_t *) r;
    }
    return nullptr;
}

// Adds [begin, end) to the free ranges of m and joins it with those that it touches.
void add_free(mapping * m, uint8_t * begin, uint8_t * end) {
    free_range ** at = &m->free, ** before = nullptr;
    while (*at && (*at)->begin() < begin) {
        before = at;
        at = &(*at)->next;
    }
    free_range * r = (free_range *) begin;
    r->next = *at;
    r->size = (size_t) (end - begin);
    *at = r;
    if (r->next && r->end() == r->next->begin()) {
        r->size += r->next->size;
        r->next = r->next->next;
    }
    if (before && (*before)->end() == begin) {
        (*before)->size += r->size;
        (*before)->next = r->next;
        r = *before;
    }
    drop_pages(r->begin() + sizeof(free_range), r->end());
}

} // namespace

void * lk_alloc(size_t bytes) {
    bytes = lk_arena_need(bytes);
    std::lock_guard<std::mutex> lock(mutex);
    for (mapping * m = mappings; m; m = m->next) {
        if (uint8_t * p = take_free(m, bytes)) {
            m->live++;
            return p;
        }
    }
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
    void * p = m->data + m->used;
    m->used += bytes;
    m->live++;
    return p;
}

size_t lk_mapped_bytes(void) {
    std::lock_guard<std::mutex> lock(mutex);
    return mapped;
}

void lk_free(void * p, size_t bytes) {
    uint8_t * begin = (uint8_t *) p, * end = begin + lk_arena_need(bytes);
    std::lock_guard<std::mutex> lock(mutex);
    mapping ** at = &mappings;
    while (begin < (*at)->data || begin >= (*at)->data + (*at)->size) {
        at = &(*at)->next;
    }
    mapping * m = *at;
    if (--m->live == 0) {
        *at = m->next;
        mapped -= m->size;
        unmap_pages(m->data, m->size);
        delete m;
        return;
    }
    add_free(m, begin, end);
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

size_t lk_mapped_bytes(void) { return 0; } // the C library has them

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
    void * p = b->data + b->used; // never used before, so the system gives it zeroed
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
