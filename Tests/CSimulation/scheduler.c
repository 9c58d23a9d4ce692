// One thread runs at a time. It gives the token to another where it waits, and now and then where it takes a lock or
// touches the disk.
#define _GNU_SOURCE
#include "internal.h"

#include <dlfcn.h>
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 256, HELD = 256 };
enum state { UNUSED, READY, WANTS_MUTEX, WAITS, SLEEPS, JOINS, ENDED };

struct thread {
    enum state state;
    const void *object;  // the mutex that is wanted, or the condition that is waited for
    pthread_mutex_t *mutex;
    int64_t deadline;  // -1: none
    int timed_out;
    int joined;
    uint32_t go;
    pthread_t handle;
    void *(*body)(void *);
    void *argument;
};

simulation_plan plan;
simulation_report *report;
static int is_active;
static struct thread threads[THREADS];
static int thread_count;
static struct { const void *mutex; int owner, depth; } held[HELD];
static int held_count;
static uint64_t random_state;
static int64_t now = 1;
static int64_t wall_offset = 1700000000000000000;
static uint32_t quantum_left;
static __thread int self = -1;

// Past it a life is endless.
static const int64_t switch_limit = 20000000;

static uint64_t next_random(void) {
    uint64_t value = random_state += 0x9E3779B97F4A7C15;
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
    return value ^ (value >> 31);
}

uint64_t simulation_random(uint64_t limit) { return limit ? next_random() % limit : 0; }

int is_simulated(void) { return is_active && self >= 0; }

void add_to_fingerprint(uint64_t value) {
    report->fingerprint = (report->fingerprint ^ value) * 0x100000001B3;
}

uint64_t fingerprint_of(const char *text) {
    uint64_t value = 0xCBF29CE484222325;
    for (; *text; text++) value = (value ^ (unsigned char)*text) * 0x100000001B3;
    return value;
}

void simulation_exit(int status) {
    if (report) report->nanoseconds = now;
    syscall(SYS_exit_group, status);
}

static int owner_of(const void *mutex) {
    for (int i = 0; i < held_count; i++)
        if (held[i].mutex == mutex) return i;
    return -1;
}

static void acquire(const void *mutex, int owner, int depth) {
    if (held_count == HELD) abort();
    held[held_count].mutex = mutex;
    held[held_count].owner = owner;
    held[held_count++].depth = depth;
}

static int is_ready(int index) {
    struct thread *thread = &threads[index];
    switch (thread->state) {
    case READY: return 1;
    case WANTS_MUTEX: return owner_of(thread->object) < 0;
    case WAITS: return thread->deadline >= 0 && thread->deadline <= now && owner_of(thread->mutex) < 0;
    case SLEEPS: return thread->deadline <= now;
    case JOINS: return threads[thread->joined].state == ENDED;
    default: return 0;
    }
}

static void describe_deadlock(void) {
    int length = snprintf(report->message, sizeof report->message, "every thread waits:");
    for (int i = 0; i < thread_count && length < (int)sizeof report->message - 80; i++)
        length += snprintf(
            report->message + length, sizeof report->message - length, " %d in state %d for %p;", i, threads[i].state,
            threads[i].object);
}

// The thread that runs next. Time passes where all wait for it.
static int choose(void) {
    for (;;) {
        int ready[THREADS], count = 0;
        for (int i = 0; i < thread_count; i++)
            if (is_ready(i)) ready[count++] = i;
        if (count > 0) return ready[count == 1 ? 0 : next_random() % count];
        int64_t earliest = -1;
        for (int i = 0; i < thread_count; i++) {
            struct thread *thread = &threads[i];
            int has_deadline = thread->state == SLEEPS || (thread->state == WAITS && thread->deadline >= 0);
            if (has_deadline && thread->deadline > now && (earliest < 0 || thread->deadline < earliest))
                earliest = thread->deadline;
        }
        if (earliest < 0) {
            describe_deadlock();
            simulation_exit(SIMULATION_DEADLOCK);
        }
        now = earliest;
    }
}

static void wake(struct thread *thread) {
    __atomic_store_n(&thread->go, 1, __ATOMIC_RELEASE);
    syscall(SYS_futex, &thread->go, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void park(struct thread *thread) {
    while (!__atomic_exchange_n(&thread->go, 0, __ATOMIC_ACQUIRE))
        syscall(SYS_futex, &thread->go, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
}

// Gives the token to whoever is chosen. The caller's state says what it waits for; it returns with that.
static void give_token(void) {
    int mine = self, next = choose();
    struct thread *thread = &threads[next];
    if (++report->switches > switch_limit) simulation_exit(SIMULATION_ENDLESS);
    add_to_fingerprint((uint64_t)next * 31 + (uint64_t)now);
    if (thread->state == WANTS_MUTEX || thread->state == WAITS) {
        thread->timed_out = thread->state == WAITS;
        acquire(thread->mutex, next, 1);
    }
    thread->state = READY;
    quantum_left = 1 + (uint32_t)simulation_random(plan.quantum);
    if (next == mine) return;
    int is_over = threads[mine].state == ENDED;
    wake(thread);
    if (!is_over) park(&threads[mine]);
}

void may_switch(void) {
    now += 200;
    if (quantum_left-- > 1) return;
    threads[self].state = READY;
    give_token();
}

void simulation_sleep(int64_t nanoseconds) {
    if (!is_simulated()) return;
    threads[self].state = SLEEPS;
    threads[self].deadline = now + nanoseconds;
    give_token();
}

// MARK: Locks

static int is_recursive(pthread_mutex_t *mutex) { return (mutex->__data.__kind & 3) == PTHREAD_MUTEX_RECURSIVE; }

EXPORT int pthread_mutex_lock(pthread_mutex_t *mutex) {
    // Before the simulation the process has one thread.
    if (!is_simulated()) return 0;
    int place = owner_of(mutex);
    if (place >= 0 && held[place].owner == self && is_recursive(mutex)) {
        held[place].depth++;
        return 0;
    }
    may_switch();
    if (owner_of(mutex) < 0) {
        acquire(mutex, self, 1);
        return 0;
    }
    threads[self].state = WANTS_MUTEX;
    threads[self].object = threads[self].mutex = mutex;
    give_token();
    return 0;
}

EXPORT int pthread_mutex_trylock(pthread_mutex_t *mutex) {
    if (!is_simulated()) return 0;
    may_switch();
    int place = owner_of(mutex);
    if (place < 0) {
        acquire(mutex, self, 1);
        return 0;
    }
    if (held[place].owner != self || !is_recursive(mutex)) return EBUSY;
    held[place].depth++;
    return 0;
}

EXPORT int pthread_mutex_unlock(pthread_mutex_t *mutex) {
    if (!is_simulated()) return 0;
    int place = owner_of(mutex);
    if (place < 0 || --held[place].depth > 0) return 0;
    held[place] = held[--held_count];
    return 0;
}

static int wait_for(pthread_cond_t *condition, pthread_mutex_t *mutex, int64_t deadline) {
    struct thread *thread = &threads[self];
    int place = owner_of(mutex);
    if (place >= 0) held[place] = held[--held_count];
    thread->state = WAITS;
    thread->object = condition;
    thread->mutex = mutex;
    // Now and then a wait ends for no reason, as POSIX has it.
    int is_spurious = simulation_random(64) == 0;
    thread->deadline = is_spurious ? now : deadline;
    thread->timed_out = 0;
    give_token();
    int has_passed = deadline >= 0 && now >= deadline;
    return thread->timed_out && has_passed ? ETIMEDOUT : 0;
}

EXPORT int pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex) {
    if (!is_simulated()) abort();
    return wait_for(condition, mutex, -1);
}

EXPORT int pthread_cond_timedwait(
    pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *deadline) {
    if (!is_simulated()) abort();
    return wait_for(condition, mutex, deadline->tv_sec * 1000000000 + deadline->tv_nsec);
}

static void wake_waiters(pthread_cond_t *condition, int most) {
    int waiting[THREADS], count = 0;
    for (int i = 0; i < thread_count; i++)
        if (threads[i].state == WAITS && threads[i].object == condition) waiting[count++] = i;
    for (; count > 0 && most > 0; most--) {
        int chosen = count == 1 ? 0 : (int)(next_random() % count);
        struct thread *thread = &threads[waiting[chosen]];
        thread->state = WANTS_MUTEX;
        thread->object = thread->mutex;
        waiting[chosen] = waiting[--count];
    }
}

EXPORT int pthread_cond_signal(pthread_cond_t *condition) {
    if (is_simulated()) wake_waiters(condition, 1);
    return 0;
}

EXPORT int pthread_cond_broadcast(pthread_cond_t *condition) {
    if (is_simulated()) wake_waiters(condition, THREADS);
    return 0;
}

// MARK: Threads

static void *run_thread(void *argument) {
    self = (int)(intptr_t)argument;
    park(&threads[self]);
    threads[self].body(threads[self].argument);
    threads[self].state = ENDED;
    give_token();
    self = -1;
    return NULL;
}

EXPORT int pthread_create(
    pthread_t *handle, const pthread_attr_t *attributes, void *(*body)(void *), void *argument) {
    int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) = dlsym(RTLD_NEXT, "pthread_create");
    if (!is_simulated()) return create(handle, attributes, body, argument);
    if (thread_count == THREADS) return EAGAIN;
    int index = thread_count++;
    threads[index] = (struct thread){.state = READY, .deadline = -1, .body = body, .argument = argument};
    int result = create(&threads[index].handle, attributes, run_thread, (void *)(intptr_t)index);
    *handle = threads[index].handle;
    may_switch();
    return result;
}

EXPORT int pthread_join(pthread_t handle, void **result) {
    int (*join)(pthread_t, void **) = dlsym(RTLD_NEXT, "pthread_join");
    // The newest: handles of threads that are gone are given again.
    for (int i = thread_count - 1; is_simulated() && i > 0; i--) {
        if (!pthread_equal(threads[i].handle, handle)) continue;
        threads[self].state = JOINS;
        threads[self].joined = i;
        give_token();
        break;
    }
    return join(handle, result);
}

// MARK: Time

EXPORT int clock_gettime(clockid_t clock, struct timespec *time) {
    if (!is_simulated()) return (int)syscall(SYS_clock_gettime, clock, time);
    int64_t value = now + (clock == CLOCK_REALTIME ? wall_offset : 0);
    if (clock == CLOCK_REALTIME && plan.jump_step > 0 && report->steps >= plan.jump_step) value += plan.jump_nanoseconds;
    time->tv_sec = value / 1000000000;
    time->tv_nsec = value % 1000000000;
    return 0;
}

EXPORT int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    struct timespec value;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &value);
    time->tv_sec = value.tv_sec;
    time->tv_usec = value.tv_nsec / 1000;
    return 0;
}

EXPORT int usleep(useconds_t microseconds) {
    if (is_simulated()) simulation_sleep((int64_t)microseconds * 1000);
    return 0;
}

// MARK: The process

simulation_report *simulation_make_report(void) {
    void *memory = mmap(NULL, sizeof(simulation_report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

void simulation_start(
    const char *disk, const char *durable, const simulation_plan *the_plan, simulation_report *the_report) {
    plan = *the_plan;
    report = the_report;
    random_state = plan.seed;
    if (plan.quantum == 0) plan.quantum = 1;
    quantum_left = plan.quantum;
    start_disk(disk, durable);
    thread_count = 1;
    self = 0;
    threads[0].state = READY;
    // Should the simulation itself be stuck.
    alarm(120);
    is_active = 1;
}

pid_t simulation_fork(void) { return fork(); }

void simulation_pin(int number) {
    cpu_set_t allowed, one;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
    int left = number % CPU_COUNT(&allowed);
    for (int processor = 0; processor < CPU_SETSIZE; processor++) {
        if (!CPU_ISSET(processor, &allowed) || left-- > 0) continue;
        CPU_ZERO(&one);
        CPU_SET(processor, &one);
        sched_setaffinity(0, sizeof one, &one);
        return;
    }
}

int simulation_wait(pid_t child) {
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

void simulation_settle(char *const arguments[]) {
    int flags = personality(0xFFFFFFFF);
    const char *hashing = getenv("SWIFT_DETERMINISTIC_HASHING");
    if (flags >= 0 && (flags & ADDR_NO_RANDOMIZE) && hashing) return;
    // Once: a container may forbid it, and then only replays are less exact.
    if (getenv("BERTH_SIMULATION_SETTLED")) return;
    setenv("BERTH_SIMULATION_SETTLED", "1", 1);
    setenv("SWIFT_DETERMINISTIC_HASHING", "1", 1);
    personality((unsigned long)flags | ADDR_NO_RANDOMIZE);
    execv("/proc/self/exe", arguments);
}
