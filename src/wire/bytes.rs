//! Big-endian integers at known places of a slice. Callers have checked the length; an index out of range is a bug here,
//! never something a peer can cause.

macro_rules! integer {
    ($get:ident, $put:ident, $type:ty) => {
        #[inline]
        pub(super) fn $get(bytes: &[u8], at: usize) -> $type {
            let mut value = [0; size_of::<$type>()];
            value.copy_from_slice(&bytes[at..at + size_of::<$type>()]);
            <$type>::from_be_bytes(value)
        }

        #[inline]
        pub(super) fn $put(bytes: &mut [u8], at: usize, value: $type) {
            bytes[at..at + size_of::<$type>()].copy_from_slice(&value.to_be_bytes());
        }
    };
}

integer!(get_u16, put_u16, u16);
integer!(get_u32, put_u32, u32);
integer!(get_u64, put_u64, u64);
