//! How objects are read and written: each is declared once, as a form, with the names that it has
//! outside of this program.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde::ser::SerializeStruct;
use serde::{Deserializer, Serialize, Serializer};

/// Whose rules hold for a value, and for everything in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// What the kernel reported. Fields that are not known are passed over, since a newer version
    /// may have written them; `null` is absent.
    Report,
    /// What is asked of the kernel. A field that is not known is an error, and so is `null`: what
    /// is passed over here would reach other entries than those that are meant.
    Input,
}

/// A value that can be part of an object.
pub(crate) trait Part: Sized {
    fn write<S: Serializer>(&self, side: Side, to: S) -> Result<S::Ok, S::Error>;
    fn read<'de, D: Deserializer<'de>>(side: Side, from: D) -> Result<Self, D::Error>;
}

/// A value as serde wants it to write it.
pub(crate) struct Out<'a, T>(pub(crate) &'a T, pub(crate) Side);

impl<T: Part> Serialize for Out<'_, T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.write(self.1, to)
    }
}

/// A value to come, as serde wants it to read it.
pub(crate) struct In<T>(Side, PhantomData<T>);

impl<T> In<T> {
    pub(crate) const fn new(side: Side) -> Self {
        Self(side, PhantomData)
    }
}

impl<'de, T: Part> DeserializeSeed<'de> for In<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<T, D::Error> {
        T::read(self.0, from)
    }
}

/// A value to come, or `null`.
struct Nullable<T>(In<T>);

impl<'de, T: Part> DeserializeSeed<'de> for Nullable<T> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Option<T>, D::Error> {
        from.deserialize_option(self)
    }
}

impl<'de, T: Part> Visitor<'de> for Nullable<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or null")
    }

    fn visit_none<E: de::Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Option<T>, D::Error> {
        self.0.deserialize(from).map(Some)
    }
}

/// The fields of an object. Any may be absent: what must be there is asked for when a value is made
/// of them.
pub(crate) trait Fields: Default {
    const NAMES: &'static [&'static str];

    fn count(&self) -> usize;
    fn put<S: SerializeStruct>(&self, side: Side, to: &mut S) -> Result<(), S::Error>;
    /// Takes the value of a field; false if there is no field of that name.
    fn take<'de, M: MapAccess<'de>>(
        &mut self,
        name: &str,
        side: Side,
        from: &mut M,
    ) -> Result<bool, M::Error>;
}

/// A value that is written as an object.
pub(crate) trait Formed: Sized {
    type Form: Fields;
    /// What it is, for errors.
    const WHAT: &'static str;

    fn form(&self, side: Side) -> Self::Form;
    fn of<E: de::Error>(form: Self::Form, side: Side) -> Result<Self, E>;
}

impl<T: Formed> Part for T {
    fn write<S: Serializer>(&self, side: Side, to: S) -> Result<S::Ok, S::Error> {
        let form = self.form(side);
        let mut object = to.serialize_struct(T::WHAT, form.count())?;
        form.put(side, &mut object)?;
        object.end()
    }

    fn read<'de, D: Deserializer<'de>>(side: Side, from: D) -> Result<Self, D::Error> {
        from.deserialize_struct(T::WHAT, T::Form::NAMES, FormVisitor(side, PhantomData))
    }
}

struct FormVisitor<T>(Side, PhantomData<T>);

impl<'de, T: Formed> Visitor<'de> for FormVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as an object", T::WHAT)
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<T, M::Error> {
        let mut form = T::Form::default();
        while let Some(name) = map.next_key_seed(Name)? {
            if form.take(&name, self.0, &mut map)? {
                continue;
            }
            match self.0 {
                Side::Report => map.next_value::<IgnoredAny>().map(drop)?,
                Side::Input => return Err(de::Error::unknown_field(&name, T::Form::NAMES)),
            }
        }
        // In here, so that the format adds to an error where it is.
        T::of(form, self.0)
    }
}

/// The name of a field, borrowed where the input allows.
pub(crate) struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_identifier(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_borrowed_str<E: de::Error>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

/// The value of a field.
pub(crate) fn read_field<'de, T: Part, M: MapAccess<'de>>(
    slot: &mut Option<T>,
    name: &'static str,
    side: Side,
    from: &mut M,
) -> Result<(), M::Error> {
    if slot.is_some() {
        return Err(de::Error::duplicate_field(name));
    }
    *slot = read_value(name, side, from)?;
    Ok(())
}

/// A value; `None` for a `null` of a report. Errors begin with its name.
pub(crate) fn read_value<'de, T: Part, M: MapAccess<'de>>(
    name: &str,
    side: Side,
    from: &mut M,
) -> Result<Option<T>, M::Error> {
    match side {
        Side::Report => from.next_value_seed(Nullable(In::new(side))),
        Side::Input => from.next_value_seed(In::new(side)).map(Some),
    }
    .map_err(|error| within(name, &error))
}

/// An error of a field.
pub(crate) fn within<E: de::Error>(name: &str, error: &E) -> E {
    E::custom(format_args!("{name}: {error}"))
}

/// A field that must be there.
pub(crate) fn need<T, E: de::Error>(field: Option<T>, name: &'static str) -> Result<T, E> {
    field.ok_or_else(|| E::missing_field(name))
}

/// Fields by their names outside of this program, in the order in which they are written.
macro_rules! form {
    ($(#[$doc:meta])* $form:ident { $($name:literal => $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Default)]
        pub(crate) struct $form {
            $(pub(crate) $field: Option<$type>,)*
        }

        impl $crate::model::json::form::Fields for $form {
            const NAMES: &'static [&'static str] = &[$($name),*];

            fn count(&self) -> usize {
                0 $(+ usize::from(self.$field.is_some()))*
            }

            fn put<S: serde::ser::SerializeStruct>(
                &self,
                side: $crate::model::json::form::Side,
                to: &mut S,
            ) -> Result<(), S::Error> {
                $(match &self.$field {
                    Some(value) => {
                        to.serialize_field($name, &$crate::model::json::form::Out(value, side))?;
                    }
                    None => to.skip_field($name)?,
                })*
                Ok(())
            }

            fn take<'de, M: serde::de::MapAccess<'de>>(
                &mut self,
                name: &str,
                side: $crate::model::json::form::Side,
                from: &mut M,
            ) -> Result<bool, M::Error> {
                match name {
                    $($name => {
                        $crate::model::json::form::read_field(&mut self.$field, $name, side, from)?;
                    })*
                    _ => return Ok(false),
                }
                Ok(true)
            }
        }
    };
}
pub(crate) use form;

/// A struct whose fields are what is written, without rules between them: those of `needs` are
/// always there, those of `may` are `Option`s.
macro_rules! plain {
    ($type:ident as $form:ident, $what:literal,
     needs { $($name:literal => $field:ident: $kind:ty,)* }
     may { $($opt_name:literal => $opt_field:ident: $opt_kind:ty,)* }) => {
        $crate::model::json::form::form!($form {
            $($name => $field: $kind,)*
            $($opt_name => $opt_field: $opt_kind,)*
        });

        impl $crate::model::json::form::Formed for $type {
            type Form = $form;
            const WHAT: &'static str = $what;

            fn form(&self, _: $crate::model::json::form::Side) -> $form {
                $form {
                    $($field: Some(self.$field),)*
                    $($opt_field: self.$opt_field,)*
                }
            }

            fn of<E: serde::de::Error>(
                form: $form,
                _: $crate::model::json::form::Side,
            ) -> Result<Self, E> {
                Ok(Self {
                    $($field: $crate::model::json::form::need(form.$field, $name)?,)*
                    $($opt_field: form.$opt_field,)*
                })
            }
        }
    };
}
pub(crate) use plain;
