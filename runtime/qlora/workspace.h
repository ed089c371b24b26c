// What the trainers of one model compute with and share: memory that a micro-batch needs while it runs, and threads. It is lent to
// one trainer at a time; what lies in it is lost when it is given back. A trainer's own are its parameters, gradients and moments.
//
// The memory grows when a trainer that needs more is made, or borrows it, and shrinks when one is closed.
#pragma once
#include "error.h"
#include "graph.h"
#include "pool.h"
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace lq {

class Mapping { // anonymous memory that goes back to the system when it is released
public:
    explicit Mapping(size_t bytes); // throws an Error of LQ_MEMORY
    ~Mapping();
    Mapping(const Mapping &) = delete;
    Mapping & operator=(const Mapping &) = delete;
    char * base() const { return (char *) p; }
    size_t size() const { return bytes; }

private:
    void * p;
    size_t bytes;
};

// The bytes that a trainer needs of the workspace: in the memory of the CPU, and on a device those of its tensors and those that
// its graphs compute in.
struct WorkspaceNeed {
    size_t host = 0, device = 0, compute = 0;
    size_t total() const { return host + device + compute; }
};

} // namespace lq

// Any thread may call its methods, but those for what was lent, which are for the trainer whose turn it is.
struct lq_workspace {
public:
    // backend: of the device that computes the graphs; NULL where the CPU trains.
    explicit lq_workspace(ggml_backend_t backend) : backend(backend) {}

    // n threads, which all trainers with as many share. Throws std::system_error.
    std::shared_ptr<lq::Pool> threads(int n);

    // What a trainer needs, which says how much memory is kept while no one borrows it.
    void join(const lq::WorkspaceNeed * need);
    void leave(const lq::WorkspaceNeed * need);

    // Lends memory for need, which has joined, and of which host bytes are on the CPU's side; no more than most bytes of these are
    // held then. Returns false where it is lent already. Throws an Error of LQ_MEMORY.
    bool borrow(lq::WorkspaceNeed * need, size_t host, size_t most);
    void give_back();
    // Frees the CPU's memory where it has more than most bytes. Returns false where it is lent.
    bool trim(size_t most);

    // What was lent. The device's memory is another one when the generation is.
    char * host() const { return mapping->base(); }
    ggml_backend_buffer_t device() const { return buffer.get(); }
    uint64_t device_generation() const { return generation; }
    // An allocator of graphs with memory of at least so many bytes; reserve has it allocate them.
    ggml_gallocr_t allocator(size_t bytes, const std::function<void(ggml_gallocr_t)> & reserve);

private:
    lq::WorkspaceNeed largest() const;
    void shrink();
    ggml_backend_buffer_type_t type() const { return ggml_backend_get_default_buffer_type(backend); }

    std::mutex lock;
    std::map<int, std::weak_ptr<lq::Pool>> pools;
    std::vector<const lq::WorkspaceNeed *> needs;
    bool lent = false;
    std::unique_ptr<lq::Mapping> mapping;
    ggml_backend_t backend;
    lq::BufferPtr buffer;
    lq::AllocatorPtr graphs;
    size_t device_bytes = 0, compute_bytes = 0;
    uint64_t generation = 0;
};
