//! `-I` and `-A`.

use super::{Context, Done, warn};
use crate::args::{Action, Request};
use crate::exit::Exit;
use crate::plan;

pub(super) fn create(context: &mut Context, mut request: Request) -> Done {
    let names = Context::labels(&request)?;
    let new = plan::new_entry(&mut request, &names)?;
    warn(context, &mut request);
    let made = Context::open(&request)?.create(&new);
    let add = request.action == Action::Add;
    let count = match made {
        Ok(()) => 1,
        // `-A` is content with what is there.
        Err(error) if add && error.is_exists() => 0,
        Err(error) => return Err(error.into()),
    };
    let done = if add { "added" } else { "created" };
    context.counted(count, &format!("flow entries have been {done}"));
    Ok(Exit::Done)
}
