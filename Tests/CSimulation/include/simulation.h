#pragma once
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

// Runs the threads of this process one at a time, in an order that a seed decides, on a clock that moves only when they
// do, over files whose unsynchronized bytes and names can be lost. It works by defining the calls of the C library
// (pthread_*, clock_gettime, open, pwrite, fdatasync, ...) in the program itself: the code under test is what is
// shipped, and knows nothing of it. See docs/decisions/0050.

// How a life of the process ends.
enum {
    SIMULATION_CLEAN = 0,
    // The process is killed: what it wrote is still with the kernel.
    SIMULATION_KILLED = 40,
    // The power fails: only what was synchronized is sure to be there.
    SIMULATION_POWER = 41,
    // The client found something wrong; the report says what.
    SIMULATION_WRONG = 42,
    SIMULATION_DEADLOCK = 43,
    // It went on for longer than any history can.
    SIMULATION_ENDLESS = 44,
};

// What a file is for, so that one of them can fail alone.
enum {
    SIMULATION_DATABASE = 1 << 0,
    SIMULATION_LOG = 1 << 1,
    SIMULATION_STAGING = 1 << 2,
    SIMULATION_CACHE = 1 << 3,
    SIMULATION_STORE = 1 << 4,
};

enum { SIMULATION_STEP_KINDS = 192, SIMULATION_OPERATIONS = 1024, SIMULATION_COPIES = 64 };

// What may happen in one life.
typedef struct {
    uint64_t seed;
    // Locks and calls that a thread gets through at most before another may run.
    uint32_t quantum;
    // The step that does not happen any more; 0: none.
    int64_t crash_step;
    int32_t crash_kind;
    // One in so many writes and syncs of these classes fails with EIO; 0: none.
    uint32_t error_classes, error_one_in;
    // One in so many reads of these classes fails with EIO, or has one bit turned over; 0: none.
    uint32_t read_classes, read_error_one_in, flip_one_in;
    // These classes are full from one step to another.
    uint32_t full_classes;
    int64_t full_from, full_until;
    // One in so many writes is short, or written back before it is synchronized; 0: none.
    uint32_t short_one_in, write_back_one_in;
    // The wall clock jumps by so much at a step; 0: never.
    int64_t jump_step, jump_nanoseconds;
    // Each step is written to standard error.
    int32_t is_traced;
} simulation_plan;

// Lies in memory that a life and the history around it share.
typedef struct {
    int64_t steps;
    int64_t switches;
    int64_t nanoseconds;
    // A sum over every decision and every step: equal for equal histories.
    uint64_t fingerprint;
    int32_t is_faulty;  // A planned fault has happened.
    int32_t issued;     // Operations begun
    int32_t completed;  // and ended,
    int32_t committed;  // those that a killed process may not lose,
    int32_t durable;    // and those that nothing may lose.
    int32_t matched;    // Which allowed state was found at the beginning; -1: it was not looked at.
    int32_t flips;      // Bits that were turned over, in reads or on the disk.
    // Copies of the metadata that were begun, the last that ended, and how many operations each holds.
    int32_t copies_begun, copies_ended, copies[SIMULATION_COPIES];
    int64_t clock;      // What the client's clock is ahead of the simulation's.
    int32_t results[SIMULATION_OPERATIONS];
    char message[8192];
    // The last step that was begun, and how often such a one had been.
    char last_step[40];
    uint64_t last_count;
    struct {
        char name[40];
        uint64_t count;
    } kinds[SIMULATION_STEP_KINDS];
} simulation_report;

// Swift does not import long arrays.
static inline const char *simulation_message(const simulation_report *report) { return report->message; }
static inline void simulation_set_message(simulation_report *report, const char *text) {
    strncpy(report->message, text, sizeof report->message - 1);
}
static inline int32_t simulation_result(const simulation_report *report, int number) { return report->results[number]; }
static inline void simulation_set_result(simulation_report *report, int number, int32_t result) {
    if (number < SIMULATION_OPERATIONS) report->results[number] = result;
}
static inline int32_t simulation_copy(const simulation_report *report, int number) { return report->copies[number]; }
static inline void simulation_begin_copy(simulation_report *report) {
    report->copies[report->copies_begun++ % SIMULATION_COPIES] = report->completed;
}
static inline const char *simulation_kind(const simulation_report *report, int number) { return report->kinds[number].name; }
static inline uint64_t simulation_kind_count(const simulation_report *report, int number) {
    return report->kinds[number].count;
}

static inline const char *simulation_last_step(const simulation_report *report) { return report->last_step; }

// Shared memory for a report, zeroed.
simulation_report *simulation_make_report(void);
// From now on this thread is the simulation's first, and the files below `disk` are simulated. `durable` takes what is
// safe from a power failure.
void simulation_start(const char *disk, const char *durable, const simulation_plan *plan, simulation_report *report);
// fork(2), which Swift hides because other threads are lost. Here there are none.
pid_t simulation_fork(void);
// Keeps this process, and those it forks, to one processor: a switch of threads is a wake-up, and five times as fast there.
void simulation_pin(int number);
// The exit status of a child, or minus the signal that ended it.
int simulation_wait(pid_t child);
void simulation_exit(int status);
// A step outside of the disk that a crash may come before.
void simulation_step(const char *name);
// Other threads run meanwhile.
void simulation_sleep(int64_t nanoseconds);
// Below `limit`, from the life's own stream.
uint64_t simulation_random(uint64_t limit);
// Whether some class is full now.
int simulation_is_full(void);
// A fault that the caller injected itself.
void simulation_fault(void);
// Turns one bit of a file over, past every count and every cache. False where there is none to turn.
int simulation_flip(const char *path);
// A line of the trace.
void simulation_note(const char *text);
// Forgets faults, from now on.
void simulation_calm(void);
int64_t simulation_steps(void);
// Addresses and hashes that are the same in each run. Starts the program again if need be.
void simulation_settle(char *const arguments[]);
