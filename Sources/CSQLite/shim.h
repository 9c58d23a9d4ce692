#pragma once
#include <sqlite3.h>
// SQLITE_TRANSIENT and SQLITE_STATIC are casts of integers to function pointers, which Swift does not import.
static inline sqlite3_destructor_type berth_sqlite_static(void) { return SQLITE_STATIC; }
static inline sqlite3_destructor_type berth_sqlite_transient(void) { return SQLITE_TRANSIENT; }
// sqlite3_db_config is variadic.
static inline int berth_sqlite_defensive(sqlite3 *db) {
    return sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, (int *)0);
}
// Whether closing leaves the log as it is.
static inline int berth_sqlite_keep_log(sqlite3 *db, int keeps) {
    return sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keeps, (int *)0);
}
