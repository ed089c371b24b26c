// Buffers whose addresses fault. A buffer has two mappings of one size: tensors get addresses in the first, which nothing
// may touch; the data of the byte at `base + n` is at `data + n`.
#include "memory.h"
#include "count.h"
#include "ggml-impl.h"
#include <atomic>
#include <cstring>
#include <sys/mman.h>

namespace devicetest {

const char * const NAME = "TestGPU0";

namespace {

std::atomic<size_t> total{(size_t) 8 << 30}, used{0};

struct Memory {
    char * base, * data;
    size_t size;
};

Memory * memory_of(ggml_backend_buffer_t b) { return (Memory *) b->context; }

void free_buffer(ggml_backend_buffer_t b) {
    Memory * m = memory_of(b);
    if (m) {
        munmap(m->base, m->size);
        munmap(m->data, m->size);
        used -= m->size;
        delete m;
    }
    delete b;
}

void * get_base(ggml_backend_buffer_t b) { return memory_of(b)->base; }

// The data of [offset, offset+size) of a tensor.
char * range(const ggml_tensor * t, size_t offset, size_t size) {
    const Memory * m = memory_of(t->view_src ? t->view_src->buffer : t->buffer);
    const char * begin = (const char *) t->data + offset;
    if (begin < m->base || begin + size > m->base + m->size) {
        GGML_ABORT("%s: bytes %zu to %zu of tensor %s lie outside of its buffer", NAME, offset, offset + size, t->name);
    }
    return m->data + (begin - m->base);
}

void memset_tensor(ggml_backend_buffer_t, ggml_tensor * t, uint8_t value, size_t offset, size_t size) { memset(range(t, offset, size), value, size); }
void set_tensor(ggml_backend_buffer_t, ggml_tensor * t, const void * from, size_t offset, size_t size) {
    transfers.copies++;
    memcpy(range(t, offset, size), from, size);
}
void get_tensor(ggml_backend_buffer_t, const ggml_tensor * t, void * to, size_t offset, size_t size) { memcpy(to, range(t, offset, size), size); }

bool copy_tensor(ggml_backend_buffer_t, const ggml_tensor * from, ggml_tensor * to) {
    const ggml_backend_buffer_t b = from->view_src ? from->view_src->buffer : from->buffer;
    if (b->buft != buffer_type()) {
        return false;
    }
    memcpy(range(to, 0, ggml_nbytes(from)), range(from, 0, ggml_nbytes(from)), ggml_nbytes(from));
    return true;
}

void clear(ggml_backend_buffer_t b, uint8_t value) {
    const Memory * m = memory_of(b);
    if (value != 0 || madvise(m->data, m->size, MADV_DONTNEED) != 0) { // else the pages come back as zeros when they are used
        memset(m->data, value, m->size);
    }
}

const char * buffer_type_name(ggml_backend_buffer_type_t) { return NAME; }
size_t alignment(ggml_backend_buffer_type_t) { return 128; }
bool is_host(ggml_backend_buffer_type_t) { return false; }

ggml_backend_buffer_t alloc_buffer(ggml_backend_buffer_type_t type, size_t size) {
    if (used + size > total) {
        GGML_LOG_ERROR("%s: a buffer of %zu bytes does not fit: %zu of %zu are in use\n", NAME, size, used.load(), total.load());
        return nullptr;
    }
    void * base = mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    void * data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED || data == MAP_FAILED) {
        if (base != MAP_FAILED) {
            munmap(base, size);
        }
        return nullptr;
    }
    used += size;
    ggml_backend_buffer_i functions = {};
    functions.free_buffer = free_buffer;
    functions.get_base = get_base;
    functions.memset_tensor = memset_tensor;
    functions.set_tensor = set_tensor;
    functions.get_tensor = get_tensor;
    functions.cpy_tensor = copy_tensor;
    functions.clear = clear;
    return ggml_backend_buffer_init(type, functions, new Memory{(char *) base, (char *) data, size}, size);
}

} // namespace

ggml_backend_buffer_type_t buffer_type() {
    static ggml_backend_buffer_type type = [] {
        ggml_backend_buffer_type t = {};
        t.iface.get_name = buffer_type_name;
        t.iface.alloc_buffer = alloc_buffer;
        t.iface.get_alignment = alignment;
        t.iface.is_host = is_host;
        t.device = device();
        return t;
    }();
    return &type;
}

char * data_of(const ggml_tensor * t) {
    const ggml_backend_buffer_t b = t->view_src ? t->view_src->buffer : t->buffer;
    if (!b || b->buft != buffer_type()) {
        GGML_ABORT("%s: a graph has tensor %s (%s), which lies in %s", NAME, t->name, ggml_op_desc(t), b ? ggml_backend_buffer_name(b) : "no buffer");
    }
    return range(t, 0, ggml_nbytes(t));
}

size_t memory_total() { return total; }
size_t memory_used() { return used; }
void set_memory_total(size_t bytes) { total = bytes; }

} // namespace devicetest
