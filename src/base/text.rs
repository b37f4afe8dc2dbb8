//! Recognizes characters that a reader does not see, for names, texts and log lines. Compares secrets.

use std::hint;

/// First and last of each range of invisible characters that are neither white space nor control characters: general
/// category Cf, Default_Ignorable_Code_Point (Hangul fillers and variation selectors, also unassigned ones), and blank
/// symbols, such as the Braille pattern without dots. Source: Unicode 17.
const INVISIBLE: [u32; 56] = [
    0xad, 0xad, 0x34f, 0x34f, 0x600, 0x605, 0x61c, 0x61c, 0x6dd, 0x6dd, 0x70f, 0x70f, 0x890, 0x891, 0x8e2, 0x8e2,
    0x115f, 0x1160, 0x17b4, 0x17b5, 0x180b, 0x180f, 0x200b, 0x200f, 0x202a, 0x202e, 0x2060, 0x206f, 0x2800, 0x2800,
    0x3164, 0x3164, 0xfe00, 0xfe0f, 0xfeff, 0xfeff, 0xffa0, 0xffa0, 0xfff0, 0xfffb, 0x110bd, 0x110bd, 0x110cd, 0x110cd,
    0x13430, 0x1343f, 0x16fe4, 0x16fe4, 0x1bca0, 0x1bca3, 0x1d159, 0x1d159, 0x1d173, 0x1d17a, 0xe0000, 0xe0fff,
];

/// Whether a character shows nothing when it stands alone. Some, such as joiners, change how their neighbours look.
pub fn is_invisible(character: char) -> bool {
    let is_in = |range: &[u32]| (range[0]..=range[1]).contains(&u32::from(character));
    character.is_whitespace() || character.is_control() || INVISIBLE.chunks(2).any(is_in)
}

/// Compares all bytes, so that the time does not show how many are right.
pub fn is_same_secret(presented: &[u8], secret: &str) -> bool {
    let differ = presented.iter().zip(secret.as_bytes()).fold(0, |all, (a, b)| hint::black_box(all | (a ^ b)));
    presented.len() == secret.len() && differ == 0
}
