#include "slots.h"
#include <algorithm>
#include <cmath>
#include <cstring>

namespace lorikeet {

static bool pooled(const Model & m, bool all, int target) {
    return target != m.embedding && (all || on_device(m.targets[(size_t) target].weight)); // rows of the embedding are looked up on the CPU
}

size_t Slots::rank_bytes(const Model & m, bool all, ggml_type type) {
    size_t n = 0;
    for (size_t t = 0; t < m.targets.size(); t++) {
        if (pooled(m, all, (int) t)) {
            n += ((size_t) m.targets[t].n_in + (size_t) m.targets[t].n_out)*ggml_type_size(type);
        }
    }
    return n;
}

int Slots::rank_needed(const Model & m, bool all, const Pack & p) {
    int rank = 0;
    for (size_t t = 0; t < m.targets.size(); t++) {
        rank = std::max(rank, pooled(m, all, (int) t) ? p.plain[t].rank : 0);
    }
    return rank;
}

bool Slots::vectors_needed(const Model & m, bool all, const Pack & p) {
    for (size_t t = 0; t < m.targets.size(); t++) {
        if (pooled(m, all, (int) t) && (!p.plain[t].gain.empty() || !p.plain[t].shift.empty() || p.has_norm_of((int) t))) {
            return true;
        }
    }
    return false;
}

// A view of a tensor that a graph takes as it is, not as a node.
static ggml_tensor * leaf_view(ggml_context * ctx, ggml_tensor * of, int64_t n0, int64_t n1, int64_t n2) {
    const size_t element = ggml_type_size(of->type);
    ggml_tensor * v = ggml_view_3d(ctx, of, n0, n1, n2, (size_t) n0*element, (size_t) (n0*n1)*element, 0);
    v->op = GGML_OP_NONE;
    v->src[0] = nullptr;
    return v;
}

void Slots::add_store(ggml_context * ctx, Store & s, const Target & t, int ranks) {
    s.a = ggml_new_tensor_2d(ctx, type, t.n_in, ranks);
    s.b = ggml_new_tensor_2d(ctx, type, t.n_out, ranks);
    for (int k = 0; k < RANK_CLASSES && MIN_RANK_CLASS << k <= ranks; k++) {
        const int c = MIN_RANK_CLASS << k;
        s.a_of.push_back(leaf_view(ctx, s.a, t.n_in, c, ranks/c));
        s.b_of.push_back(leaf_view(ctx, s.b, c, t.n_out, ranks/c));
    }
}

static ggml_backend_buffer_type_t memory_of(const ggml_tensor * weight) {
    return on_device(weight) ? ggml_backend_buffer_get_type(weight->buffer) : ggml_backend_cpu_buffer_type();
}

// A back end of its own for copies, so that they run beside those that compute; null: the device cannot do that.
static ggml_backend_ptr copier_of(ggml_backend_dev_t device) {
    ggml_backend_dev_props props = {};
    ggml_backend_dev_get_props(device, &props);
    return ggml_backend_ptr(props.type != GGML_BACKEND_DEVICE_TYPE_CPU && props.caps.async ? ggml_backend_dev_init(device, nullptr) : nullptr);
}

// Whether a device multiplies the slots of a target with MUL_MAT_ID.
static bool multiplies(ggml_backend_dev_t device, ggml_tensor * slots) {
    ggml_context_ptr ctx(ggml_init({8*ggml_tensor_overhead(), nullptr, true}));
    if (!ctx) {
        throw std::bad_alloc();
    }
    ggml_tensor * x = ggml_new_tensor_2d(ctx.get(), GGML_TYPE_F32, slots->ne[0], 2), * ids = ggml_new_tensor_2d(ctx.get(), GGML_TYPE_I32, 2, 1);
    return ggml_backend_dev_supports_op(device, ggml_mul_mat_id(ctx.get(), slots, x, ids));
}

Slots::Slots(const Model & m, bool all, int ranks, ggml_type type, SlotProducts products) : type(type), products(products), rows(products == PRODUCTS_GATHERED ? PRODUCTS_GATHERED : PRODUCTS_MUL_MAT_ID), stores(m.targets.size()) {
    std::map<ggml_backend_buffer_type_t, std::vector<int>> by_memory;
    for (size_t t = 0; t < m.targets.size(); t++) {
        if (pooled(m, all, (int) t)) {
            by_memory[memory_of(m.targets[t].weight)].push_back((int) t);
        }
    }
    for (const auto & [memory, targets] : by_memory) {
        ggml_context_ptr ctx(ggml_init({ggml_tensor_overhead()*targets.size()*(2 + 2*RANK_CLASSES), nullptr, true}));
        if (!ctx) {
            throw std::bad_alloc();
        }
        ggml_backend_dev_t device = ggml_backend_buft_get_device(memory);
        if (device && !copiers.count(device)) {
            copiers[device] = copier_of(device);
        }
        for (int t : targets) {
            Store & s = stores[(size_t) t];
            add_store(ctx.get(), s, m.targets[(size_t) t], ranks);
            classes = (int) s.a_of.size();
            s.copier = device ? copiers[device].get() : nullptr;
        }
        ggml_backend_buffer_ptr buffer(ggml_backend_alloc_ctx_tensors_from_buft(ctx.get(), memory));
        if (!buffer) {
            throw OutOfMemory("slots for adapters of " + std::to_string(ranks) + " ranks in the memory of " + ggml_backend_buft_name(memory)
                + ", which --adapter-memory bounds");
        }
        ggml_backend_buffer_set_usage(buffer.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS); // products run where they are
        ggml_backend_buffer_clear(buffer.get(), 0); // what is read without having been written is a number
        for (int t : targets) {
            const Store & s = stores[(size_t) t];
            if (products == PRODUCTS_AUTO && device && !(multiplies(device, s.a_of[0]) && multiplies(device, s.b_of[0]))) {
                rows = PRODUCTS_GATHERED;
            }
        }
        contexts.push_back(std::move(ctx));
        buffers.push_back(std::move(buffer));
    }
}

// Copies are cut into pieces of this size, and decodes run between them where they cannot run beside them.
enum { PIECE = 4 << 20 };

void Slots::write(const Store & s, ggml_tensor * t, const std::vector<uint8_t> & data, size_t offset) {
    for (size_t at = 0; at < data.size(); at += PIECE) {
        const size_t n = std::min(data.size() - at, (size_t) PIECE);
        if (s.copier) {
            ggml_backend_tensor_set_async(s.copier, t, data.data() + at, offset + at, n);
        } else {
            const std::lock_guard<Turns> turn(turns);
            ggml_backend_tensor_set(t, data.data() + at, offset + at, n);
        }
    }
    if (s.copier) {
        ggml_backend_synchronize(s.copier); // data is the caller's again
    }
}

// n values in the type of the slots, from floats or from halves.
std::vector<uint8_t> Slots::convert(const float * from, const uint8_t * half, size_t n) const {
    std::vector<uint8_t> out(n*ggml_type_size(type));
    if (type == GGML_TYPE_F32 && from) {
        memcpy(out.data(), from, out.size());
    } else if (type == GGML_TYPE_F32) {
        ggml_fp16_to_fp32_row((const ggml_fp16_t *) half, (float *) out.data(), (int64_t) n);
    } else if (from) {
        if (std::any_of(from, from + n, [](float x) { return !(std::fabs(x) <= HALF_MOST); })) {
            throw std::runtime_error("the adapter holds a value that is too large for slots in half precision");
        }
        ggml_fp32_to_fp16_row(from, (ggml_fp16_t *) out.data(), (int64_t) n);
    } else {
        memcpy(out.data(), half, out.size());
    }
    return out;
}

void Slots::upload_target(const Pack & pack, int target, int rank_class, Place at) {
    const Store & s = stores[(size_t) target];
    const Target & t = pack.model->targets[(size_t) target];
    const Plain & p = pack.plain[(size_t) target];
    const size_t element = ggml_type_size(type), c = (size_t) MIN_RANK_CLASS << rank_class, rank = (size_t) p.rank;
    if (rank > 0) {
        std::vector<uint8_t> a = convert(p.f32 ? p.floats_a() : nullptr, p.a.data(), rank*(size_t) t.n_in);
        a.resize(c*(size_t) t.n_in*element); // the ranks that it has less than the class are zeros
        write(s, s.a, a, (size_t) at.lora*s.a->nb[1]);
        const std::vector<uint8_t> b = convert(p.f32 ? p.floats_b() : nullptr, p.b.data(), rank*(size_t) t.n_out);
        std::vector<uint8_t> padded(c*(size_t) t.n_out*element);
        for (size_t o = 0; o < (size_t) t.n_out; o++) {
            memcpy(&padded[o*c*element], &b[o*rank*element], rank*element);
        }
        write(s, s.b, padded, (size_t) at.lora*s.b->nb[1]);
    }
    if (!p.gain.empty()) {
        write(s, s.b, convert(p.gain.data(), nullptr, p.gain.size()), (size_t) at.vectors*s.b->nb[1]);
    }
    if (!p.shift.empty()) {
        write(s, s.b, convert(p.shift.data(), nullptr, p.shift.size()), (size_t) (at.vectors + 1)*s.b->nb[1]);
    }
    if (pack.has_norm_of(target)) {
        const InArena<float> & d = pack.norms.at(t.norm);
        write(s, s.a, convert(d.data(), nullptr, d.size()), (size_t) at.vectors*s.a->nb[1]);
    }
}

int Slots::rank_of(const Pack & p) const {
    int rank = 0;
    for (size_t t = 0; t < stores.size(); t++) {
        rank = std::max(rank, has((int) t) ? p.plain[t].rank : 0);
    }
    return rank;
}

void Slots::upload(const Pack & p, Place at) {
    const std::lock_guard<std::mutex> lock(copying);
    const int rank = rank_of(p);
    for (size_t t = 0; t < stores.size(); t++) {
        if (has((int) t)) {
            upload_target(p, (int) t, class_of_rank(rank), at);
        }
    }
}

} // namespace lorikeet
