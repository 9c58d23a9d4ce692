import FileModel

/// A set of inodes that were made one after the other: what one transaction makes has numbers in a row.
struct InodeRanges {
    private var ranges: [ClosedRange<UInt64>] = []

    /// Numbers come in order.
    mutating func insert(_ id: InodeID) {
        let number = id.rawValue
        guard let last = ranges.last, last.upperBound.addingClamped(1) >= number else {
            return ranges.append(number...number)
        }
        ranges[ranges.count - 1] = last.lowerBound...max(last.upperBound, number)
    }

    func contains(_ id: InodeID) -> Bool {
        var (low, high) = (0, ranges.count)
        while low < high {
            let middle = (low + high) / 2
            if ranges[middle].upperBound < id.rawValue { low = middle + 1 } else { high = middle }
        }
        return low < ranges.count && ranges[low].contains(id.rawValue)
    }
}
