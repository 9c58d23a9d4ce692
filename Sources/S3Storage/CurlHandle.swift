import CCurl
import Glibc

/// A libcurl handle with the connections it keeps. One thread at a time uses it.
///
/// Invariants
/// - Between requests no option points to memory that is gone: each request starts with `curl_easy_reset`.
final class CurlHandle {
    private static let connectMilliseconds = 10_000
    /// A transfer that is slower than this for so long has stalled.
    private static let stallBytesPerSecond = 1024
    private static let stallSeconds = 30
    /// libcurl's usual 16 and 64 KiB cost a system call each.
    private static let bufferBytes = 256 << 10

    private let handle: UnsafeMutableRawPointer
    private var errorText = [CChar](repeating: 0, count: Int(CURL_ERROR_SIZE))

    /// Nil where there is no memory.
    init?() {
        guard Self.isStarted, let handle = curl_easy_init() else { return nil }
        self.handle = handle
    }

    deinit { curl_easy_cleanup(handle) }

    /// libcurl starts once per process, before the first handle.
    private static let isStarted = berth_curl_start() == CURLE_OK

    /// Sends a request and waits for the whole reply, whatever its status.
    func perform(_ request: HTTPRequest, trusting certificates: String?) throws(TransferFailure) -> HTTPReply {
        curl_easy_reset(handle)
        let exchange = Exchange(request)
        var headers: UnsafeMutablePointer<curl_slist>?
        defer { curl_slist_free_all(headers) }
        // libcurl would wait a second for "100 Continue", which few stores send.
        for line in request.headers.map({ "\($0.key): \($0.value)" }) + ["Expect:", "Content-Type:"] {
            headers = curl_slist_append(headers, line)
        }
        prepare(request)
        if let certificates { _ = berth_curl_set_text(handle, CURLOPT_CAINFO, certificates) }
        _ = berth_curl_set_list(handle, CURLOPT_HTTPHEADER, headers)
        connect(exchange)
        // The array's storage is fixed while the request runs: nothing else touches it.
        let code = errorText.withUnsafeMutableBufferPointer { buffer in
            buffer[0] = 0
            _ = berth_curl_set_pointer(handle, CURLOPT_ERRORBUFFER, buffer.baseAddress)
            return withExtendedLifetime(exchange) { curl_easy_perform(handle) }
        }
        // Nothing of this request may be pointed to once it is over.
        curl_easy_reset(handle)
        guard code == CURLE_OK else { throw TransferFailure(code: code, words: words(code)) }
        return exchange.reply
    }

    private func prepare(_ request: HTTPRequest) {
        _ = berth_curl_set_text(handle, CURLOPT_URL, request.url)
        _ = berth_curl_set_text(handle, CURLOPT_PROTOCOLS_STR, "http,https")
        // 2 would put all requests of a handle's connection behind each other, and gains nothing with one at a time.
        number(CURLOPT_HTTP_VERSION, Int(CURL_HTTP_VERSION_1_1))
        // No signals: other threads have them.
        number(CURLOPT_NOSIGNAL, 1)
        number(CURLOPT_FOLLOWLOCATION, 0)
        number(CURLOPT_TCP_KEEPALIVE, 1)
        number(CURLOPT_CONNECTTIMEOUT_MS, Self.connectMilliseconds)
        number(CURLOPT_TIMEOUT_MS, Int(request.timeout / .milliseconds(1)))
        // Under a limit of the user's own, slow says nothing: what steps back for others may stand still.
        if request.rate == nil {
            number(CURLOPT_LOW_SPEED_LIMIT, Self.stallBytesPerSecond)
            number(CURLOPT_LOW_SPEED_TIME, Self.stallSeconds)
        }
        number(CURLOPT_BUFFERSIZE, Self.bufferBytes)
        switch request.method {
        case .get: number(CURLOPT_HTTPGET, 1)
        case .head: number(CURLOPT_NOBODY, 1)
        case .put:
            number(CURLOPT_UPLOAD, 1)
            number(CURLOPT_UPLOAD_BUFFERSIZE, Self.bufferBytes)
            _ = berth_curl_set_large(handle, CURLOPT_INFILESIZE_LARGE, curl_off_t(request.body?.count ?? 0))
        case .delete: _ = berth_curl_set_text(handle, CURLOPT_CUSTOMREQUEST, request.method.rawValue)
        }
    }

    private func number(_ option: CURLoption, _ value: Int) { _ = berth_curl_set_number(handle, option, value) }

    private func connect(_ exchange: Exchange) {
        let context = Unmanaged.passUnretained(exchange).toOpaque()
        for option in [CURLOPT_WRITEDATA, CURLOPT_HEADERDATA, CURLOPT_READDATA, CURLOPT_SEEKDATA, CURLOPT_XFERINFODATA]
        {
            _ = berth_curl_set_pointer(handle, option, context)
        }
        _ = berth_curl_set_data(handle, CURLOPT_WRITEFUNCTION) { bytes, size, count, context in
            guard let context else { return 0 }
            let part = UnsafeRawBufferPointer(start: bytes, count: size * count)
            return Unmanaged<Exchange>.fromOpaque(context).takeUnretainedValue().take(body: part)
        }
        _ = berth_curl_set_data(handle, CURLOPT_HEADERFUNCTION) { bytes, size, count, context in
            guard let context else { return 0 }
            let line = UnsafeRawBufferPointer(start: bytes, count: size * count)
            Unmanaged<Exchange>.fromOpaque(context).takeUnretainedValue().take(header: line)
            return size * count
        }
        _ = berth_curl_set_data(handle, CURLOPT_READFUNCTION) { bytes, size, count, context in
            guard let context else { return 0 }
            let room = UnsafeMutableRawBufferPointer(start: bytes, count: size * count)
            return Unmanaged<Exchange>.fromOpaque(context).takeUnretainedValue().give(room)
                ?? Int(CURL_READFUNC_ABORT)
        }
        // Called each second at least, also while nothing comes.
        number(CURLOPT_NOPROGRESS, 0)
        _ = berth_curl_set_progress(handle) { context, _, _, _, _ in
            guard let context else { return 0 }
            return Unmanaged<Exchange>.fromOpaque(context).takeUnretainedValue().isAbandoned ? 1 : 0
        }
        _ = berth_curl_set_seek(handle) { context, offset, origin in
            guard let context, origin == SEEK_SET else { return CURL_SEEKFUNC_FAIL }
            let isDone = Unmanaged<Exchange>.fromOpaque(context).takeUnretainedValue().rewind(to: Int(offset))
            return isDone ? CURL_SEEKFUNC_OK : CURL_SEEKFUNC_FAIL
        }
    }

    private func words(_ code: CURLcode) -> String {
        let text = String(decoding: errorText.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return text.isEmpty ? String(cString: curl_easy_strerror(code)) : text
    }
}

extension CurlHandle {
    static var noMemory: CURLcode { CURLE_OUT_OF_MEMORY }
}
