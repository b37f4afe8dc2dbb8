//! Enums with one row of constants per variant, such as its label in metrics.

/// Declares an enum and its `TABLE` of rows. Each row is written beside its variant, so none can be missing or out of order.
macro_rules! table {
    ($(#[$about:meta])* $name:ident: $row:ty; $($(#[$doc:meta])* $variant:ident = $constants:expr;)*) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl $name {
            pub const TABLE: &'static [$row] = &[$($constants,)*];

            pub(crate) fn row(self) -> $row {
                Self::TABLE[self as usize]
            }
        }
    };
}

pub(crate) use table;
