//! Expectations: reported ones, new ones, and the keys that name them.

use std::net::IpAddr;
use std::time::Duration;

use serde::de;

use super::entry::{Ends, listed};
use super::form::{Formed, Side, form, need, plain};
use super::tuple::TupleForm;
use crate::model::{
    Direction, ExpectFlags, ExpectKey, ExpectMask, ExpectNat, Expectation, Family, Helper, Key,
    NewExpectation, Protocol, Tuple, Unknown, Zone,
};

form!(
    /// What entries have as well has the type that it has there: events share these fields.
    ExpectationForm {
        "family" => family: Family,
        "protocol" => protocol: Protocol,
        "tuple" => tuple: TupleForm,
        "mask" => mask: ExpectMask,
        "master" => master: Tuple,
        "zone" => zone: Zone,
        "timeout" => timeout: u32,
        "id" => id: u32,
        "helper" => helper: Helper,
        "flags" => flags: ExpectFlags,
        "class" => class: u32,
        "nat" => nat: ExpectNat,
        "function" => function: String,
        "unknown" => unknown: Vec<Unknown>,
    }
);

impl Formed for Expectation {
    type Form = ExpectationForm;
    const WHAT: &'static str = "an expectation";

    fn form(&self, _: Side) -> ExpectationForm {
        // A field that is not here would be lost, so all are named.
        let Self {
            tuple,
            mask,
            master,
            zone,
            timeout,
            id,
            helper,
            flags,
            class,
            nat,
            function,
            unknown,
        } = self;
        let protocol = tuple.protocol();
        ExpectationForm {
            family: Some(tuple.family()),
            protocol: Some(protocol),
            tuple: Some(TupleForm::inside(tuple, protocol)),
            mask: Some(*mask),
            master: Some(*master),
            zone: *zone,
            timeout: *timeout,
            id: *id,
            helper: *helper,
            flags: *flags,
            class: *class,
            nat: *nat,
            function: function.clone(),
            unknown: listed(unknown),
        }
    }

    fn of<E: de::Error>(form: ExpectationForm, side: Side) -> Result<Self, E> {
        let ends = Ends {
            family: form.family,
            protocol: form.protocol,
        };
        Ok(Self {
            tuple: ends.tuple(form.tuple, "tuple", side)?,
            mask: need(form.mask, "mask")?,
            master: need(form.master, "master")?,
            zone: form.zone,
            timeout: form.timeout,
            id: form.id,
            helper: form.helper,
            flags: form.flags,
            class: form.class,
            nat: form.nat,
            function: form.function,
            unknown: form.unknown.unwrap_or_default(),
        })
    }
}

form!(NewExpectationForm {
    "master" => master: Key,
    "family" => family: Family,
    "protocol" => protocol: Protocol,
    "tuple" => tuple: TupleForm,
    "mask" => mask: ExpectMask,
    "timeout" => timeout: u32,
    "helper" => helper: Helper,
    "flags" => flags: ExpectFlags,
    "class" => class: u32,
    "nat" => nat: ExpectNat,
    "function" => function: String,
});

impl Formed for NewExpectation {
    type Form = NewExpectationForm;
    const WHAT: &'static str = "a new expectation";

    fn form(&self, _: Side) -> NewExpectationForm {
        let Self {
            master,
            tuple,
            mask,
            timeout,
            helper,
            flags,
            class,
            nat,
            function,
        } = self;
        let protocol = tuple.protocol();
        NewExpectationForm {
            master: Some(*master),
            family: Some(tuple.family()),
            protocol: Some(protocol),
            tuple: Some(TupleForm::inside(tuple, protocol)),
            mask: Some(*mask),
            timeout: *timeout,
            helper: *helper,
            flags: Some(*flags).filter(|flags| !flags.is_empty()),
            class: *class,
            nat: *nat,
            function: function.clone(),
        }
    }

    /// By way of the builder.
    fn of<E: de::Error>(form: NewExpectationForm, side: Side) -> Result<Self, E> {
        let ends = Ends {
            family: form.family,
            protocol: form.protocol,
        };
        let tuple = ends.tuple(form.tuple, "tuple", side)?;
        let mut new = Self::builder(need(form.master, "master")?, tuple);
        if let Some(mask) = form.mask {
            new = new.mask(mask);
        }
        if let Some(timeout) = form.timeout {
            new = new.timeout(Duration::from_secs(timeout.into()));
        }
        if let Some(helper) = form.helper {
            new = new.helper(helper);
        }
        if let Some(flags) = form.flags {
            new = new.flags(flags);
        }
        if let Some(class) = form.class {
            new = new.class(class);
        }
        if let Some(nat) = form.nat {
            new = new.nat(nat);
        }
        if let Some(function) = form.function {
            new = new.function(function);
        }
        new.build().map_err(E::custom)
    }
}

form!(ExpectKeyForm {
    "family" => family: Family,
    "protocol" => protocol: Protocol,
    "tuple" => tuple: TupleForm,
    "zone" => zone: Zone,
    "id" => id: u32,
});

impl Formed for ExpectKey {
    type Form = ExpectKeyForm;
    const WHAT: &'static str = "a key of an expectation";

    fn form(&self, _: Side) -> ExpectKeyForm {
        let Self { tuple, zone, id } = self;
        let protocol = tuple.protocol();
        ExpectKeyForm {
            family: Some(tuple.family()),
            protocol: Some(protocol),
            tuple: Some(TupleForm::inside(tuple, protocol)),
            zone: Some(*zone),
            id: *id,
        }
    }

    fn of<E: de::Error>(form: ExpectKeyForm, side: Side) -> Result<Self, E> {
        let ends = Ends {
            family: form.family,
            protocol: form.protocol,
        };
        Ok(Self {
            tuple: ends.tuple(form.tuple, "tuple", side)?,
            // Not zone 0 where none is given, as with entries: what is listed lacks the zone in
            // whichever zone it is.
            zone: need(form.zone, "zone")?,
            id: form.id,
        })
    }
}

plain!(ExpectMask as ExpectMaskForm, "the mask of an expectation",
    needs {}
    may {
        "src" => src: IpAddr,
        "src_port" => src_port: u16,
    }
);

plain!(ExpectNat as ExpectNatForm, "how an expected flow is translated back",
    needs {
        "direction" => direction: Direction,
        "address" => address: IpAddr,
        "port" => port: u16,
    }
    may {}
);
