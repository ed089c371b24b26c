// The optimizer's step: the norm of all gradients, clipping, and AdamW over each adapter.
#include "adapter_trainer.h"
#include <algorithm>
#include <math.h>
#include <numeric>

namespace lq {

namespace {

constexpr size_t PIECE = 4096; // parameters that one thread takes at a time
constexpr double SQUARING = 16, ADAM = 200; // what a gradient and a parameter cost beside operations of products: their memory is what takes time

// Some of the parameters, which have one learning rate.
struct Piece {
    size_t at, n;
    enum Kind { a, other, norm } kind;
};

struct Update {
    Adam adam = {};
    std::vector<double> squares; // of the gradients, by parts
    std::vector<Piece> pieces;
};

void add_pieces(std::vector<Piece> & to, size_t at, size_t end, Piece::Kind kind) {
    for (; at < end; at += PIECE) {
        to.push_back({at, std::min(PIECE, end - at), kind});
    }
}

} // namespace

void AdapterTrainer::begin_update(const lq_update & u) {
    if (!started) {
        throw Error{LQ_INVALID, "there are no gradients yet"};
    }
    give_back();
    schedule.clear();
    waiting = false;
    schedule_update(u);
}

void AdapterTrainer::schedule_update(const lq_update & u) {
    auto update = std::make_shared<Update>();
    for (const Lora & l : loras) { // what is not trained has no gradient
        if (l.trained < l.rank) {
            schedule_zero(l.da + (size_t) l.trained*l.n_in, (size_t) (l.rank - l.trained)*l.n_in);
            schedule_zero(l.db + (size_t) l.trained*l.n_out, (size_t) (l.rank - l.trained)*l.n_out);
        }
    }
    update->squares.resize(square_parts(parameters));
    const double part = SQUARING*(double) parameters/update->squares.size();
    schedule.ranges((int) update->squares.size(), [part](int) { return part; }, [=](int begin, int end) {
        sum_squares(compute, arrays.gradients, parameters, begin, end, update->squares.data());
    });
    schedule.add([=] {
        const double norm = sqrt(std::accumulate(update->squares.begin(), update->squares.end(), 0.0));
        result.grad_norm = norm;
        if (!std::isfinite(norm)) {
            throw Error{LQ_DIVERGED, "a gradient is not a finite number"};
        }
        Adam & adam = update->adam;
        const double n = (double) steps + 1;
        adam.beta1 = u.beta1;
        adam.beta2 = u.beta2;
        adam.eps = u.eps;
        adam.weight_decay = u.weight_decay;
        adam.correction1 = (float) (1 - pow(u.beta1, n));
        adam.correction2 = (float) (1 - pow(u.beta2, n));
        adam.grad_scale = u.clip > 0 && norm > u.clip ? (float) (u.clip/norm) : 1;
    });
    for (const Lora & l : loras) {
        add_pieces(update->pieces, l.at_a, l.at_a + (size_t) l.trained*l.n_in, Piece::a);
        add_pieces(update->pieces, l.at_b, l.at_b + (size_t) l.trained*l.n_out, Piece::other);
        add_pieces(update->pieces, l.at_m, l.at_m + (l.dora ? l.n_out : 0), Piece::other); // DoRA's at B's rate, as PEFT's LoRA+ has it for whatever is not an A
    }
    for (const OwnNorm & o : own_norms) { // transformers' Trainer, too, has no weight decay of norms
        add_pieces(update->pieces, o.at, o.at + (size_t) o.n, Piece::norm);
    }
    schedule.ranges((int) update->pieces.size(), [update](int i) { return ADAM*(double) update->pieces[i].n; }, [=](int begin, int end) {
        compute.pool->run(end - begin, [&](int i, int) {
            const Piece & p = update->pieces[begin + i];
            Adam a = update->adam;
            a.lr = p.kind == Piece::a ? u.lr : u.lr_b;
            a.weight_decay = p.kind == Piece::norm ? 0 : a.weight_decay;
            compute.kernels.rows->adamw(a, (int) p.n, arrays.parameters + p.at, arrays.gradients + p.at, arrays.moment1 + p.at, arrays.moment2 + p.at);
        });
    });
    schedule.add([this] {
        result.steps = ++steps;
        parameters_changed();
    });
}

} // namespace lq
