#include "pool.h"
#include <pthread.h>
#include <signal.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace lq {

namespace {

// Waits some ten microseconds for `ready` without sleeping: an operation of a small model takes no longer than it
// takes to wake a thread.
template <typename F> bool spin_until(const F & ready) {
    for (int i = 0; i < 1500; i++) {
        if (ready()) {
            return true;
        }
#if defined(__x86_64__)
        _mm_pause();
#endif
    }
    return ready();
}

// Threads started while it exists receive no signals: Go's runtime handles them on its own threads.
class SignalsBlocked {
public:
    SignalsBlocked() {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
    }
    ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &old, nullptr); }
    SignalsBlocked(const SignalsBlocked &) = delete;
    SignalsBlocked & operator=(const SignalsBlocked &) = delete;

private:
    sigset_t old = {};
};

} // namespace

Pool::Pool(int threads) {
    const SignalsBlocked blocked;
    try {
        for (int i = 1; i < threads; i++) {
            workers.emplace_back([this, i] { work(i); });
        }
    } catch (...) { // no thread or no memory for the next one: a thread that is not joined would end the program
        stop();
        throw;
    }
}

Pool::~Pool() { stop(); }

void Pool::stop() {
    {
        std::lock_guard<std::mutex> guard(lock);
        closing = true;
        generation++;
    }
    wake.notify_all();
    for (std::thread & w : workers) {
        w.join();
    }
}

void Pool::drain(int thread) {
    for (int i = next++; i < total; i = next++) {
        task(context, i, thread);
    }
}

void Pool::run_any(int n, Task * t, const void * c) {
    if (workers.empty() || n <= 1) {
        for (int i = 0; i < n; i++) {
            t(c, i, 0);
        }
        return;
    }
    {
        std::lock_guard<std::mutex> guard(lock);
        task = t;
        context = c;
        total = n;
        next = 0;
        open = true;
        generation++;
    }
    wake.notify_all();
    drain(0);
    spin_until([this] { return inside == 0; });
    std::unique_lock<std::mutex> guard(lock);
    open = false; // a worker that has not woken by now is not waited for
    finished.wait(guard, [this] { return inside == 0; });
}

void Pool::work(int thread) {
    uint32_t seen = 0;
    std::unique_lock<std::mutex> guard(lock);
    for (;;) {
        if (closing) {
            return;
        }
        if (open && generation != seen) {
            seen = generation;
            inside++;
            guard.unlock();
            drain(thread);
            guard.lock();
            if (--inside == 0) {
                finished.notify_one();
            }
            continue;
        }
        guard.unlock();
        spin_until([&] { return generation != seen; });
        guard.lock();
        wake.wait(guard, [&] { return closing || (open && generation != seen); });
    }
}

} // namespace lq
