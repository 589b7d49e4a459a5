//! Random bytes and comparison in constant time, both from AWS-LC. Nothing else makes secrets here.

use zeroize::Zeroizing;

/// Fresh random bytes, wiped when dropped.
pub(crate) fn secret<const N: usize>() -> Zeroizing<[u8; N]> {
    let mut bytes = Zeroizing::new([0; N]);
    fill(&mut *bytes);
    bytes
}

/// Fresh random bytes that are no secret: salts, serial numbers.
pub(crate) fn public<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}

fn fill(bytes: &mut [u8]) {
    aws_lc_rs::rand::fill(bytes).expect("AWS-LC ends the process itself where the system gives it no entropy");
}

/// Whether both are equal; the time tells no more than their lengths.
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(a, b).is_ok()
}
