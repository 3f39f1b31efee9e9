//! Amounts as Kubernetes writes them: `500m`, `1Gi`, `10G`.
//!
//! In: text. Out: thousandths of one, to be compared.
//!
//! Always true:
//! * two texts of one amount give one number, as the API server may store another text than was sent.
//!
//! Not here: which field holds an amount.

/// The amount in thousandths; `None` if the text is no amount. An amount beyond the range is as large as can be.
pub fn parse(text: &str) -> Option<i128> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: i128 = match &text[digits.len()..] {
        "m" => 1,
        "" => 1000,
        "k" => 1000 * 1000,
        "M" => 1000 * 1000i128.pow(2),
        "G" => 1000 * 1000i128.pow(3),
        "T" => 1000 * 1000i128.pow(4),
        "P" => 1000 * 1000i128.pow(5),
        "E" => 1000 * 1000i128.pow(6),
        "Ki" => 1000 * 1024,
        "Mi" => 1000 * 1024i128.pow(2),
        "Gi" => 1000 * 1024i128.pow(3),
        "Ti" => 1000 * 1024i128.pow(4),
        "Pi" => 1000 * 1024i128.pow(5),
        "Ei" => 1000 * 1024i128.pow(6),
        _ => return None,
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |part: &str| part.chars().all(|c| c.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty())
        || !is_number(whole)
        || !is_number(fraction)
        || digits.len() > 24
    {
        return None;
    }
    let number = |part: &str| part.parse::<i128>().unwrap_or(0);
    let fraction = &fraction[..fraction.len().min(6)];
    let below = number(fraction) * unit / 10i128.pow(fraction.len() as u32);
    Some(number(whole).saturating_mul(unit).saturating_add(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_amount_has_many_texts() {
        for (a, b) in
            [("0.5", "500m"), ("1024Mi", "1Gi"), ("1", "1000m"), ("1.5Gi", "1536Mi"), ("2000k", "2M")]
        {
            assert_eq!(parse(a), parse(b), "{a} and {b}");
        }
        assert_ne!(parse("1G"), parse("1Gi"));
    }

    #[test]
    fn what_is_no_amount_is_none() {
        for text in ["", "Gi", ".", "1.2.3", "1X", "-1", "main", "1111111111111111111111111Gi"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered(text in ".{0,40}") {
            parse(&text);
        }
    }
}
