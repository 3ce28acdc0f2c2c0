//! The parts of requests and answers.

use crate::Failure;

/// The rest of a request.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Failure> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or("the request is too short")?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Failure> {
        Ok(self.take(N)?.try_into()?)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Failure> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Failure> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Failure> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Failure> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A length and so many bytes.
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Failure> {
        let length = usize::try_from(self.u32()?)?;
        self.take(length)
    }
}

/// Appends a length and so many bytes.
pub(crate) fn put(answer: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Failure> {
    answer.extend_from_slice(&u32::try_from(bytes.len())?.to_le_bytes());
    answer.extend_from_slice(bytes);
    Ok(())
}
