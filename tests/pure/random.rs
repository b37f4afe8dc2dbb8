//! Numbers that look random and are the same in every run, and inputs cut in pieces.

/// xorshift64* (Vigna, 2014).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        ((self.next() >> 32) % end as u64) as usize
    }

    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    /// The input in some pieces; a piece may be empty.
    pub fn pieces<'a>(&mut self, input: &'a [u8]) -> Vec<&'a [u8]> {
        let mut cuts: Vec<usize> = (0..self.below(8)).map(|_| self.below(input.len() + 1)).collect();
        cuts.sort();
        let (mut pieces, mut start) = (Vec::new(), 0);
        for cut in cuts {
            pieces.push(&input[start..cut]);
            start = cut;
        }
        pieces.push(&input[start..]);
        pieces
    }

    /// Changes, doubles, drops or adds one byte to ten.
    pub fn mutate(&mut self, input: &mut Vec<u8>) {
        for _ in 0..1 + self.below(3) {
            let at = self.below(input.len().max(1));
            let end = input.len().min(at + 1 + self.below(10));
            match self.below(5) {
                0 if at < input.len() => input[at] ^= 1 << self.below(8),
                1 if at < input.len() => {
                    input[at] = self.pick(&[&b'\r', &b'\n', &0, &0xff, &b' ', &b':', &b'9']).to_owned()
                }
                2 => drop(input.drain(at..end)),
                3 => {
                    let piece = input[at..end].to_vec();
                    input.splice(at..at, piece);
                }
                _ => input.insert(at, self.next() as u8),
            }
        }
    }
}

/// All ways to show an input: whole, byte by byte, and cut in two at every place.
pub fn splits(input: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    let in_two = (1..input.len()).map(|at| vec![&input[..at], &input[at..]]);
    [vec![input], input.chunks(1).collect()].into_iter().chain(in_two)
}
