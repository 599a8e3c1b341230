//! Bounds-checked reading and writing of big-endian wire fields.
//!
//! A [`Reader`] never indexes its input: every read either succeeds or returns [`Short`]. A nested length is read
//! through [`Reader::sub`], so that an inner length can never escape the outer one.

/// The input ended before the field did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("needs {needed} more bytes, {left} are left")]
pub struct Short {
    /// Length of the field in bytes.
    pub needed: usize,
    /// What is left of the input in bytes.
    pub left: usize,
}

/// A cursor over received bytes.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Starts at the first byte of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// What has not been read yet.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// How many bytes have not been read yet.
    #[must_use]
    pub const fn left(&self) -> usize {
        self.0.len()
    }

    /// Whether everything has been read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads `N` bytes.
    ///
    /// # Errors
    /// [`Short`] if fewer are left; nothing is consumed then.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        let Some((head, rest)) = self.0.split_first_chunk::<N>() else {
            return Err(Short { needed: N, left: self.0.len() });
        };
        self.0 = rest;
        Ok(*head)
    }

    /// Reads `len` bytes.
    ///
    /// # Errors
    /// [`Short`] if fewer are left; nothing is consumed then.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], Short> {
        let Some((head, rest)) = self.0.split_at_checked(len) else {
            return Err(Short { needed: len, left: self.0.len() });
        };
        self.0 = rest;
        Ok(head)
    }

    /// A reader of the next `len` bytes, which are consumed here.
    ///
    /// # Errors
    /// [`Short`] if fewer are left.
    pub fn sub(&mut self, len: usize) -> Result<Self, Short> {
        self.bytes(len).map(Self)
    }

    /// Reads one byte.
    ///
    /// # Errors
    /// [`Short`] at the end of the input.
    pub fn u8(&mut self) -> Result<u8, Short> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Reads two bytes.
    ///
    /// # Errors
    /// [`Short`] if fewer are left.
    pub fn u16(&mut self) -> Result<u16, Short> {
        self.array().map(u16::from_be_bytes)
    }

    /// Reads three bytes.
    ///
    /// # Errors
    /// [`Short`] if fewer are left.
    pub fn u24(&mut self) -> Result<u32, Short> {
        self.array::<3>().map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    /// Reads four bytes.
    ///
    /// # Errors
    /// [`Short`] if fewer are left.
    pub fn u32(&mut self) -> Result<u32, Short> {
        self.array().map(u32::from_be_bytes)
    }

    /// Reads eight bytes.
    ///
    /// # Errors
    /// [`Short`] if fewer are left.
    pub fn u64(&mut self) -> Result<u64, Short> {
        self.array().map(u64::from_be_bytes)
    }

    /// Reads sixteen bytes.
    ///
    /// # Errors
    /// [`Short`] if fewer are left.
    pub fn u128(&mut self) -> Result<u128, Short> {
        self.array().map(u128::from_be_bytes)
    }
}

/// Builds a packet field by field.
#[derive(Debug, Clone, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// An empty packet with room for `capacity` bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// How many bytes were written.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends one byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    /// Appends two bytes.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Appends the low three bytes of `value`.
    pub fn u24(&mut self, value: u32) -> &mut Self {
        let [_, a, b, c] = value.to_be_bytes();
        self.bytes(&[a, b, c])
    }

    /// Appends four bytes.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Appends eight bytes.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Appends sixteen bytes.
    pub fn u128(&mut self, value: u128) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Appends `bytes`.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Overwrites the two bytes at `at`, for lengths and checksums that are known last. Outside what was written it
    /// does nothing.
    pub fn patch_u16(&mut self, at: usize, value: u16) -> &mut Self {
        if let Some(field) = self.0.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<2>()) {
            *field = value.to_be_bytes();
        }
        self
    }

    /// What was written so far.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// The packet.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_was_written() {
        let mut w = Writer::default();
        w.u8(1)
            .u16(0x0203)
            .u24(0x04_0506)
            .u32(0x0708_090a)
            .u64(12)
            .u128(11)
            .bytes(b"xy")
            .patch_u16(1, 0xbeef);
        let bytes = w.finish();
        let mut r = Reader::new(&bytes);
        assert_eq!(r.u8(), Ok(1));
        assert_eq!(r.u16(), Ok(0xbeef));
        assert_eq!(r.u24(), Ok(0x04_0506));
        assert_eq!(r.u32(), Ok(0x0708_090a));
        assert_eq!(r.u64(), Ok(12));
        assert_eq!(r.u128(), Ok(11));
        assert_eq!(r.bytes(2), Ok(&b"xy"[..]));
        assert!(r.is_empty());
    }

    #[test]
    fn a_failed_read_consumes_nothing() {
        let mut r = Reader::new(&[1, 2, 3]);
        assert_eq!(r.u32(), Err(Short { needed: 4, left: 3 }));
        assert_eq!(r.left(), 3);
    }

    #[test]
    fn an_inner_length_cannot_escape_the_outer_one() {
        let mut r = Reader::new(&[1, 2, 3, 4]);
        let mut inner = r.sub(2).unwrap();
        assert_eq!(inner.u32(), Err(Short { needed: 4, left: 2 }));
        assert_eq!(r.rest(), &[3, 4]);
        assert_eq!(r.sub(3).unwrap_err(), Short { needed: 3, left: 2 });
    }

    #[test]
    fn patching_outside_does_nothing() {
        let mut w = Writer::default();
        w.u16(7).patch_u16(1, 9).patch_u16(100, 9);
        assert_eq!(w.finish(), [0, 7]);
    }
}
