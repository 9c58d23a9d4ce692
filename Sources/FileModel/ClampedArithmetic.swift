/// Arithmetic on numbers that somebody else has chosen: programs, archives, stores, a damaged database. It neither wraps
/// nor traps, but answers the nearest number that there is.
extension FixedWidthInteger {
    @inlinable
    public func addingClamped(_ other: Self) -> Self {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? (other > 0 ? .max : .min) : sum
    }

    @inlinable
    public func subtractingClamped(_ other: Self) -> Self {
        let (difference, overflow) = subtractingReportingOverflow(other)
        return overflow ? (other > 0 ? .min : .max) : difference
    }

    @inlinable
    public func multipliedClamped(by other: Self) -> Self {
        let (product, overflow) = multipliedReportingOverflow(by: other)
        return overflow ? ((self < 0) == (other < 0) ? .max : .min) : product
    }
}

extension Sequence {
    /// The sum of a number of each element.
    @inlinable
    public func clampedSum<Number: FixedWidthInteger>(of number: (Element) throws -> Number) rethrows -> Number {
        try reduce(0) { $0.addingClamped(try number($1)) }
    }
}

extension UInt64 {
    /// The nearest whole number; 0 for what is less, and for what is none.
    public init(clamping value: Double) {
        self = value >= 1.8e19 ? .max : value > 0 ? UInt64(value.rounded()) : 0
    }
}
