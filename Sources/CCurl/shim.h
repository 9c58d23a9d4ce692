#pragma once
#include <curl/curl.h>

// curl_easy_setopt and curl_easy_getinfo are variadic, which Swift does not import: one function per type.
static inline CURLcode berth_curl_set_number(CURL *handle, CURLoption option, long value) {
    return curl_easy_setopt(handle, option, value);
}
static inline CURLcode berth_curl_set_large(CURL *handle, CURLoption option, curl_off_t value) {
    return curl_easy_setopt(handle, option, value);
}
// libcurl copies the text.
static inline CURLcode berth_curl_set_text(CURL *handle, CURLoption option, const char *value) {
    return curl_easy_setopt(handle, option, value);
}
static inline CURLcode berth_curl_set_pointer(CURL *handle, CURLoption option, void *value) {
    return curl_easy_setopt(handle, option, value);
}
static inline CURLcode berth_curl_set_list(CURL *handle, CURLoption option, struct curl_slist *value) {
    return curl_easy_setopt(handle, option, value);
}
typedef size_t (*berth_curl_data)(char *bytes, size_t size, size_t count, void *context);
static inline CURLcode berth_curl_set_data(CURL *handle, CURLoption option, berth_curl_data value) {
    return curl_easy_setopt(handle, option, value);
}
typedef int (*berth_curl_seek)(void *context, curl_off_t offset, int origin);
static inline CURLcode berth_curl_set_seek(CURL *handle, berth_curl_seek value) {
    return curl_easy_setopt(handle, CURLOPT_SEEKFUNCTION, value);
}
typedef int (*berth_curl_progress)(void *context, curl_off_t total, curl_off_t now, curl_off_t up_total, curl_off_t up_now);
static inline CURLcode berth_curl_set_progress(CURL *handle, berth_curl_progress value) {
    return curl_easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, value);
}
static inline CURLcode berth_curl_get_number(CURL *handle, CURLINFO what, long *value) {
    return curl_easy_getinfo(handle, what, value);
}
// A macro that Swift does not import.
static inline CURLcode berth_curl_start(void) { return curl_global_init(CURL_GLOBAL_DEFAULT); }
