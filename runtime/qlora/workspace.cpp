#include "workspace.h"
#include <algorithm>
#include <string>
#include <sys/mman.h>

namespace lq {

Mapping::Mapping(size_t n) : bytes(n) {
    p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        throw Error{LQ_MEMORY, "the trainer needs " + std::to_string((bytes >> 20) + 1) + " MiB, which the system does not have"};
    }
}

Mapping::~Mapping() { munmap(p, bytes); }

} // namespace lq

using lq::WorkspaceNeed;

std::shared_ptr<lq::Pool> lq_workspace::threads(int n) {
    std::lock_guard<std::mutex> guard(lock);
    std::shared_ptr<lq::Pool> pool = pools[n].lock();
    if (!pool) {
        pool = std::make_shared<lq::Pool>(n);
        pools[n] = pool;
    }
    return pool;
}

WorkspaceNeed lq_workspace::largest() const {
    WorkspaceNeed all;
    for (const WorkspaceNeed * n : needs) {
        all.host = std::max(all.host, n->host);
        all.device = std::max(all.device, n->device);
        all.compute = std::max(all.compute, n->compute);
    }
    return all;
}

void lq_workspace::join(const WorkspaceNeed * need) {
    std::lock_guard<std::mutex> guard(lock);
    needs.push_back(need);
}

void lq_workspace::leave(const WorkspaceNeed * need) {
    std::lock_guard<std::mutex> guard(lock);
    needs.erase(std::remove(needs.begin(), needs.end(), need), needs.end());
    if (!lent) {
        shrink();
    }
}

// Frees what no trainer that is left needs; who borrows next allocates what it needs.
void lq_workspace::shrink() {
    const WorkspaceNeed most = largest();
    if (mapping && mapping->size() > most.host) {
        mapping.reset();
    }
    if (device_bytes > most.device) {
        buffer.reset();
        device_bytes = 0;
    }
    if (compute_bytes > most.compute) {
        graphs.reset();
        compute_bytes = 0;
    }
}

bool lq_workspace::borrow(WorkspaceNeed * need, size_t host, size_t most) {
    std::lock_guard<std::mutex> guard(lock);
    if (lent) {
        return false;
    }
    if (!mapping || mapping->size() < host || mapping->size() > most) {
        mapping.reset(); // before there are both
        mapping = std::make_unique<lq::Mapping>(host);
    }
    need->host = host;
    if (device_bytes < need->device) {
        buffer.reset();
        device_bytes = 0;
        generation++;
        buffer.reset(ggml_backend_buft_alloc_buffer(type(), need->device));
        if (!buffer) {
            throw lq::Error{LQ_MEMORY, "training needs " + std::to_string((need->device >> 20) + 1) + " MiB beside what it computes in, which the device " +
                ggml_backend_name(backend) + " does not have"};
        }
        device_bytes = need->device;
    }
    lent = true;
    return true;
}

void lq_workspace::give_back() {
    std::lock_guard<std::mutex> guard(lock);
    lent = false;
    shrink();
}

bool lq_workspace::trim(size_t most) {
    std::lock_guard<std::mutex> guard(lock);
    if (!lent && mapping && mapping->size() > most) {
        mapping.reset();
    }
    return !lent;
}

ggml_gallocr_t lq_workspace::allocator(size_t bytes, const std::function<void(ggml_gallocr_t)> & reserve) {
    if (!graphs || compute_bytes < bytes) {
        graphs.reset(ggml_gallocr_new(type()));
        compute_bytes = 0;
        reserve(graphs.get());
        compute_bytes = bytes;
    }
    return graphs.get();
}
