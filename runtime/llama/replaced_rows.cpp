// Rows of the embeddings and the head that an adapter replaces: packed as differences to the base's, and the node that
// adds them to the head's logits. The embeddings' are added where their rows are looked up (lora_graph.cpp).
#include "weight_view.h"
#include "hooks.h"
#include "ggml-cpu.h"
#include <algorithm>
#include <atomic>
#include <cmath>

namespace lorikeet {

const uint8_t * Replaced::of(int32_t token) const {
    if (ids.empty()) {
        return row((size_t) token);
    }
    const auto it = at.find(token);
    return it == at.end() ? nullptr : row(it->second);
}

namespace {

// to (width) = from - base, in the type of r. False: it is not a number that the type holds.
bool subtract(const Replaced & r, const float * from, const float * base, uint8_t * to) {
    std::vector<float> d(r.width);
    bool fits = true;
    for (size_t i = 0; i < r.width; i++) {
        d[i] = from[i] - base[i];
        fits &= std::fabs(d[i]) <= (r.f32 ? 3e38f : HALF_MOST); // false for NaN, too
    }
    if (r.f32) {
        std::copy(d.begin(), d.end(), (float *) to);
    } else {
        ggml_fp32_to_fp16_row(d.data(), (ggml_fp16_t *) to, (int64_t) r.width);
    }
    return fits;
}

} // namespace

void Pack::add_rows(int target, const int32_t * ids, int n, const float * values) {
    const Target & t = model->targets.at((size_t) target);
    if (target != model->embedding && t.name != "output.weight") {
        throw std::runtime_error(t.name + ": rows are replaced in token_embd.weight and output.weight alone");
    }
    if (rows.count(target) || (!ids && n != t.n_out)) {
        throw std::runtime_error(t.name + ": its rows are given twice, or not all of them are");
    }
    Replaced r;
    r.f32 = f32;
    r.width = (size_t) t.n_in;
    std::vector<int> order((size_t) n);
    for (int i = 0; i < n; i++) {
        order[(size_t) i] = i;
        if (ids && (ids[i] < 0 || ids[i] >= t.n_out)) {
            throw std::runtime_error(t.name + ": it has no row " + std::to_string(ids[i]));
        }
    }
    if (ids) {
        std::sort(order.begin(), order.end(), [&](int a, int b) { return ids[a] < ids[b]; });
    }
    std::vector<int> position((size_t) t.n_out, -1); // of each row of the base in values
    for (size_t k = 0; k < order.size(); k++) {
        const int id = ids ? ids[order[k]] : (int) k;
        if (position[(size_t) id] >= 0) {
            throw std::runtime_error(t.name + ": row " + std::to_string(id) + " is given twice");
        }
        position[(size_t) id] = order[k];
        if (ids) {
            r.ids.push_back(id);
            r.at[id] = k;
        }
    }
    r.data = in_arena<uint8_t>(nullptr, (size_t) n*r.row_bytes());
    const WeightRows w(*model, target);
    std::atomic<bool> fits{true};
    in_background(t.n_out, [&](int first, int count) {
        bool any = false;
        for (int row = first; row < first + count; row++) {
            any |= position[(size_t) row] >= 0;
        }
        if (!any) {
            return;
        }
        const std::unique_ptr<float[]> base = w.read({}, first, count);
        for (int row = first; row < first + count; row++) {
            if (position[(size_t) row] >= 0) {
                const size_t to = ids ? r.at.at(row) : (size_t) row;
                if (!subtract(r, values + (size_t) position[(size_t) row]*r.width, &base[(size_t) (row - first)*r.width], &r.data[to*r.row_bytes()])) {
                    fits = false;
                }
            }
        }
    });
    if (!fits) {
        throw std::runtime_error(t.name + ": a replaced row holds a value that is not a finite number of a weight's size");
    }
    rows[target] = std::move(r);
}

// ---- the head --------------------------------------------------------------------------------------

namespace {

// xh (n_in, rows) F16 = the rows of x that are multiplied with a set in F16. The others are not read.
void to_f16(ggml_tensor * xh, int ith, int nth, void * data) {
    const Rows::Span & s = *((const Rows::Node *) data)->span;
    const ggml_tensor * x = xh->src[0];
    for (size_t i = (size_t) ith; i < s.needs_f16.size(); i += (size_t) nth) {
        if (s.needs_f16[i]) {
            ggml_fp32_to_fp16_row((const float *) ((const char *) x->data + i*x->nb[1]), (ggml_fp16_t *) ((char *) xh->data + i*xh->nb[1]), x->ne[0]);
        }
    }
}

// y[id] += scale * D[id] x for the outputs [begin, end) and the batch's rows [job, last), which have the same set D: a row
// of D for all of them while it is in the cache.
void multiply(const Rows::ReplacedRow * job, const Rows::ReplacedRow * last, ggml_tensor * y, const ggml_tensor * x, int begin, int end) {
    const Replaced & r = *job->set;
    const auto dot = ggml_get_type_traits_cpu(r.f32 ? GGML_TYPE_F32 : GGML_TYPE_F16)->vec_dot;
    const bool all = r.ids.empty();
    size_t k = all ? (size_t) begin : (size_t) (std::lower_bound(r.ids.begin(), r.ids.end(), begin) - r.ids.begin());
    for (; all ? k < (size_t) end : k < r.ids.size() && r.ids[k] < end; k++) {
        for (const Rows::ReplacedRow * j = job; j < last; j++) {
            float product = 0;
            dot((int) r.width, &product, 0, r.row(k), 0, (const char *) x->data + (size_t) j->row*x->nb[1], 0, 1);
            ((float *) ((char *) y->data + (size_t) j->row*y->nb[1]))[all ? k : (size_t) r.ids[k]] += j->scale*product;
        }
    }
}

void run_rows(ggml_tensor * dst, int ith, int nth, void * data) {
    const std::vector<Rows::ReplacedRow> & jobs = ((const Rows::Node *) data)->span->replaced;
    const ggml_tensor * y = dst->src[0], * x = dst->src[1], * xh = dst->src[2];
    const int n_out = (int) dst->ne[0], begin = (int) ((int64_t) n_out*ith/nth), end = (int) ((int64_t) n_out*(ith + 1)/nth);
    for (int64_t i = 0; dst->data != y->data && i < dst->ne[1]; i++) {
        const float * from = (const float *) ((const char *) y->data + i*y->nb[1]);
        std::copy(from + begin, from + end, (float *) ((char *) dst->data + i*dst->nb[1]) + begin);
    }
    for (size_t at = 0, next; at < jobs.size(); at = next) {
        for (next = at; next < jobs.size() && jobs[next].set == jobs[at].set; next++) {
        }
        multiply(&jobs[at], jobs.data() + next, dst, jobs[at].set->f32 ? x : xh, begin, end);
    }
}

} // namespace

ggml_tensor * add_rows(ggml_context * ctx, Rows & rows, int target, ggml_tensor * y, ggml_tensor * x) {
    Rows::Node * node = rows.node(rows.span(x->ne[1]), target);
    ggml_tensor * args[] = {x, ggml_custom_4d(ctx, GGML_TYPE_F16, x->ne[0], x->ne[1], 1, 1, &x, 1, to_f16, GGML_N_TASKS_MAX, node)};
    if (on_device(rows.mixes.model->targets[(size_t) target].weight)) { // y does, too: the node's result is the CPU's
        ggml_tensor * all[] = {y, args[0], args[1]};
        return ggml_custom_4d(ctx, GGML_TYPE_F32, y->ne[0], y->ne[1], 1, 1, all, 3, run_rows, GGML_N_TASKS_MAX, node);
    }
    return ggml_custom_inplace(ctx, y, args, 2, run_rows, GGML_N_TASKS_MAX, node);
}

} // namespace lorikeet
