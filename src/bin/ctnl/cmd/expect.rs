//! The table of expectations.

use std::time::Duration;

use ctnetlink::{ExpectKey, ExpectMask, Expectation, Family, Key, NewExpectation};

use super::{Context, Done, Failure};
use crate::args::Request;
use crate::exit::Exit;
use crate::output::Framed;
use crate::plan;

fn each(
    context: &Context,
    request: &Request,
    mut take: impl FnMut(&Expectation) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let ct = Context::open(request)?;
    for expectation in ct.expectations().list()? {
        let expectation = match expectation {
            Ok(expectation) => expectation,
            Err(error) if error.is_malformed() => continue,
            Err(error) => return Err(error.into()),
        };
        // As conntrack(8), which lists those of IPv4 unless it is told otherwise.
        let family = request.family.unwrap_or(Family::Ipv4);
        if expectation.tuple().family() == family {
            take(&expectation)?;
        }
        if context.is_stopped() {
            break;
        }
    }
    Ok(())
}

pub(super) fn list(context: &mut Context, request: &Request) -> Done {
    let mut printer = Context::printer(request, ctnetlink::LabelNames::default(), Framed::Yes);
    let mut out = std::mem::replace(&mut context.out, crate::out::Out::new()?);
    let mut count = 0;
    let listed = each(context, request, |expectation| {
        count += 1;
        Ok(printer.expectation(&mut out, expectation)?)
    });
    context.out = out;
    listed?;
    printer.end(&mut context.out, true)?;
    context.counted(count, "expectations have been shown");
    Ok(Exit::Done)
}

pub(super) fn count(context: &mut Context, request: &Request) -> Done {
    let mut count = 0_u64;
    each(context, request, |_| {
        count += 1;
        Ok(())
    })?;
    context.out.line(count)?;
    Ok(Exit::Done)
}

pub(super) fn get(context: &mut Context, request: &Request) -> Done {
    let tuple = *plan::key(request)?.tuple();
    let mut printer = Context::printer(request, ctnetlink::LabelNames::default(), Framed::Yes);
    let found = Context::open(request)?
        .expectations()
        .get(ExpectKey::new(tuple))?;
    printer.expectation(&mut context.out, &found)?;
    printer.end(&mut context.out, true)?;
    Ok(Exit::Done)
}

pub(super) fn create(request: &Request) -> Done {
    let master = plan::key(request)?;
    let tuple = plan::expected(request)?;
    let mut mask = ExpectMask::exact(tuple.family());
    mask.src = request.mask.src;
    mask.src_port = request.mask.src_port;
    let timeout = Duration::from_secs(request.timeout.unwrap_or_default().into());
    let new = NewExpectation::builder(Key::orig(*master.tuple()), tuple)
        .mask(mask)
        .timeout(timeout)
        .build()?;
    Context::open(request)?.expectations().create(&new)?;
    Ok(Exit::Done)
}

pub(super) fn delete(context: &mut Context, request: &Request) -> Done {
    let tuple = *plan::key(request)?.tuple();
    let deleted = Context::open(request)?
        .expectations()
        .delete(ExpectKey::new(tuple));
    deleted?;
    context.counted(1, "expectations have been deleted");
    Ok(Exit::Done)
}

pub(super) fn flush(context: &mut Context, request: &Request) -> Done {
    Context::open(request)?.expectations().flush_all()?;
    context.name.says("expectation table has been emptied.");
    Ok(Exit::Done)
}
