// What a Pool does where the system gives it some of its threads and then no more.
#include "../pool.h"
#include "sample.h"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <system_error>
#include <unistd.h>

namespace {

// While it lives, a new thread takes 1 GiB of addresses, and 2.5 GiB are left.
class FewThreads {
public:
    FewThreads() {
        unsigned long pages = 0;
        FILE * f = fopen("/proc/self/statm", "r");
        ok = f && fscanf(f, "%lu", &pages) == 1 && pthread_getattr_default_np(&attributes) == 0 && getrlimit(RLIMIT_AS, &limit) == 0;
        if (f) {
            fclose(f);
        }
        pthread_attr_t wide;
        ok = ok && pthread_attr_init(&wide) == 0 && pthread_attr_setstacksize(&wide, GIB) == 0 && pthread_setattr_default_np(&wide) == 0;
        rlimit low = limit;
        low.rlim_cur = pages*(rlim_t) sysconf(_SC_PAGESIZE) + 5*(rlim_t) GIB/2;
        ok = ok && setrlimit(RLIMIT_AS, &low) == 0;
    }
    ~FewThreads() {
        setrlimit(RLIMIT_AS, &limit);
        pthread_setattr_default_np(&attributes);
    }
    FewThreads(const FewThreads &) = delete;
    FewThreads & operator=(const FewThreads &) = delete;
    bool ok;

private:
    static constexpr size_t GIB = (size_t) 1 << 30;
    pthread_attr_t attributes = {};
    rlimit limit = {};
};

bool signals_arrive() {
    sigset_t now;
    return pthread_sigmask(SIG_SETMASK, nullptr, &now) == 0 && !sigismember(&now, SIGUSR1) && !sigismember(&now, SIGTERM);
}

} // namespace

const char * lq_check_pool_without_threads(void) {
    try {
        const FewThreads few;
        if (!few.ok) {
            return "the limits could not be set";
        }
        const lq::Pool pool(64);
        return "sixty-four threads were given within 2.5 GiB of addresses";
    } catch (const std::system_error &) { // as it must be: had a started thread not been joined, the program would have ended
    }
    if (!signals_arrive()) {
        return "the calling thread's signals stay blocked";
    }
    lq::Pool pool(3);
    std::atomic<int> sum{0};
    pool.run(100, [&](int i, int) { sum += i; });
    return sum == 4950 ? nullptr : "a later pool does not do its work";
}
