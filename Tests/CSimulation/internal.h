#pragma once
#include "simulation.h"

#define EXPORT __attribute__((visibility("default")))

extern simulation_plan plan;
extern simulation_report *report;
// Whether the calling thread is one that the simulation runs.
int is_simulated(void);
// Lets another thread run, perhaps.
void may_switch(void);
void add_to_fingerprint(uint64_t value);
uint64_t fingerprint_of(const char *text);
void start_disk(const char *disk, const char *durable);
int is_full_now(uint32_t class);
