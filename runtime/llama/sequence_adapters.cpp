#include "sequence_adapters.h"
#include "ggml-cpu.h"
#include <algorithm>

namespace lorikeet {

SequenceAdapters::SequenceAdapters(std::shared_ptr<const Model> m, int sequences, int mmid_rank)
    : model(std::move(m)), slots(mmid_rank > 0 ? new Slots(*model, sequences, mmid_rank) : nullptr), all((size_t) sequences) {
    for (Sequence & s : all) {
        s.rows.resize(model->targets.size()*MAX_TERMS);
        s.counts.resize(model->targets.size());
    }
}

lk_row SequenceAdapters::row(int seq, int target) const {
    const Sequence & s = all[(size_t) seq];
    return {&s.rows[(size_t) target*MAX_TERMS], s.counts[(size_t) target]};
}

void SequenceAdapters::set(int seq, std::vector<Term> terms) {
    if (slots) {
        slots->write(*model, seq + 1, terms);
    }
    Sequence & s = all[(size_t) seq];
    s.hidden = 0;
    for (size_t t = 0; t < model->targets.size(); t++) {
        int n = 0;
        size_t hidden = 0;
        for (const Term & term : terms) {
            if (const lk_lora * m = term.pack->fused[t].get()) {
                s.rows[t*MAX_TERMS + (size_t) n++] = {m, term.scale*term.pack->scale[t]};
                hidden += (size_t) lk_lora_padded(m)*LK_LORA_PARTS;
            }
        }
        s.counts[t] = n;
        s.hidden = std::max(s.hidden, hidden);
    }
    s.terms = std::move(terms);
}

Slots::Slots(const Model & m, int sequences, int max_rank) : max_rank(max_rank) {
    ctx.reset(ggml_init({ggml_tensor_overhead()*(4*m.targets.size() + 1), nullptr, true}));
    if (!ctx) {
        throw std::bad_alloc();
    }
    for (size_t t = 0; t < m.targets.size(); t++) {
        const bool embedding = (int) t == m.embedding; // has no slots: it is added row by row
        const Target & target = m.targets[t];
        a.push_back(embedding ? nullptr : ggml_new_tensor_3d(ctx.get(), GGML_TYPE_F32, target.n_in, max_rank, sequences + 1));
        b.push_back(embedding ? nullptr : ggml_new_tensor_3d(ctx.get(), GGML_TYPE_F32, max_rank, target.n_out, sequences + 1));
        gain.push_back(embedding ? nullptr : ggml_new_tensor_2d(ctx.get(), GGML_TYPE_F32, target.n_out, sequences + 1));
        shift.push_back(embedding ? nullptr : ggml_new_tensor_2d(ctx.get(), GGML_TYPE_F32, target.n_out, sequences + 1));
    }
    ggml_backend_buffer_type_t memory = ggml_backend_cpu_buffer_type();
    for (const Target & target : m.targets) {
        if (on_device(target.weight)) {
            memory = ggml_backend_buffer_get_type(target.weight->buffer);
        }
    }
    buffer.reset(ggml_backend_alloc_ctx_tensors_from_buft(ctx.get(), memory));
    if (!buffer) {
        throw std::bad_alloc();
    }
    ggml_backend_buffer_clear(buffer.get(), 0);
}

// A composition is one adapter whose rank is the sum of its terms' ranks.
void Slots::write(const Model & m, int slot, const std::vector<Term> & terms) {
    for (size_t t = 0; t < m.targets.size(); t++) {
        int rank = 0;
        for (const Term & term : terms) {
            if (term.pack->has((int) t) && a[t] && !term.pack->keep_plain) {
                throw std::runtime_error("the adapter was packed without the plain copy that the mmid back end needs");
            }
            rank += term.pack->plain[t].rank;
        }
        if (a[t] && rank > max_rank) {
            throw std::runtime_error(m.targets[t].name + ": the ranks add up to " + std::to_string(rank) + ", the slots have " + std::to_string(max_rank));
        }
    }
    for (size_t t = 0; t < m.targets.size(); t++) {
        if (!a[t]) {
            continue;
        }
        std::vector<float> pa(a[t]->nb[2]/sizeof(float)), pb(b[t]->nb[2]/sizeof(float)), pg((size_t) m.targets[t].n_out), ps(pg.size());
        int first = 0;
        for (const Term & term : terms) {
            const Plain & p = term.pack->plain[t];
            const float scale = term.scale*term.pack->scale[t];
            std::copy(p.a.begin(), p.a.end(), pa.begin() + (ptrdiff_t) first*m.targets[t].n_in);
            for (int o = 0; o < (p.rank ? m.targets[t].n_out : 0); o++) {
                for (int r = 0; r < p.rank; r++) {
                    pb[(size_t) o*max_rank + first + r] = scale*p.b[(size_t) o*p.rank + r];
                }
            }
            for (size_t o = 0; o < p.gain.size(); o++) {
                pg[o] += term.scale*p.gain[o];
            }
            for (size_t o = 0; o < p.shift.size(); o++) {
                ps[o] += term.scale*p.shift[o];
            }
            first += p.rank;
        }
        ggml_backend_tensor_set(a[t], pa.data(), (size_t) slot*a[t]->nb[2], a[t]->nb[2]);
        ggml_backend_tensor_set(b[t], pb.data(), (size_t) slot*b[t]->nb[2], b[t]->nb[2]);
        ggml_backend_tensor_set(gain[t], pg.data(), (size_t) slot*gain[t]->nb[1], gain[t]->nb[1]);
        ggml_backend_tensor_set(shift[t], ps.data(), (size_t) slot*shift[t]->nb[1], shift[t]->nb[1]);
    }
}

} // namespace lorikeet
