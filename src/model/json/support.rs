//! What was proven of a kernel, to be kept for as long as it runs.

use serde::de;

use super::form::{Formed, Side, form, need, plain};
use crate::error::{Errno, Error};
use crate::model::{Boot, Family, Features, FilterShape, KernelSupport, Trial, Verdict, shapes};

plain!(Features as FeaturesForm, "what a kernel can do",
    needs {}
    may {
        "zones" => zones: bool,
        "direction_zones" => direction_zones: bool,
        "labels" => labels: bool,
        "nat" => nat: bool,
        "helpers" => helpers: bool,
        "event_timestamps" => event_timestamps: bool,
        "extended_ack" => extended_ack: bool,
        "strict_checking" => strict_checking: bool,
    }
);

form!(TrialForm {
    "shape" => shape: FilterShape,
    "family" => family: Family,
    "list" => list: String,
    "list_errno" => list_errno: i32,
    "flush" => flush: String,
    "flush_errno" => flush_errno: i32,
});

const PLAIN: [(&str, Verdict); 6] = [
    ("right", Verdict::Right),
    ("ignored", Verdict::Ignored),
    ("inverted", Verdict::Inverted),
    ("omits", Verdict::Omits),
    ("wrong", Verdict::Wrong),
    ("unproven", Verdict::Unproven),
];
const REFUSED: &str = "refused";

fn words(verdict: Verdict) -> (Option<String>, Option<i32>) {
    if let Verdict::Refused(errno) = verdict {
        return (Some(REFUSED.to_owned()), Some(errno.raw()));
    }
    let named = PLAIN.iter().find(|(_, plain)| *plain == verdict);
    (named.map(|(name, _)| (*name).to_owned()), None)
}

/// What is not said is not proven.
fn verdict<E: de::Error>(
    word: Option<String>,
    errno: Option<i32>,
    names: (&'static str, &'static str),
) -> Result<Verdict, E> {
    let word = word.unwrap_or_else(|| "unproven".to_owned());
    if word == REFUSED {
        let errno = need::<_, E>(errno, names.1)?;
        return Ok(Verdict::Refused(Errno::from_raw(errno)));
    }
    if let Some(errno) = errno {
        let expected = "none but for what was refused";
        return Err(E::custom(Error::invalid(
            names.1,
            errno.to_string(),
            "not refused",
            expected,
        )));
    }
    let plain = PLAIN.iter().find(|(name, _)| *name == word);
    plain.map(|(_, verdict)| *verdict).ok_or_else(|| {
        let expected = "right, ignored, inverted, omits, wrong, refused or unproven";
        E::custom(Error::invalid(names.0, word, "not known", expected))
    })
}

impl Formed for Trial {
    type Form = TrialForm;
    const WHAT: &'static str = "the trial of a filter";

    fn form(&self, _: Side) -> TrialForm {
        let (list, list_errno) = words(self.dump);
        let (flush, flush_errno) = words(self.flush);
        TrialForm {
            shape: Some(self.shape),
            family: self.family,
            list,
            list_errno,
            flush,
            flush_errno,
        }
    }

    fn of<E: de::Error>(form: TrialForm, _: Side) -> Result<Self, E> {
        let trial = Self {
            shape: need(form.shape, "shape")?,
            family: form.family,
            dump: verdict(form.list, form.list_errno, ("list", "list_errno"))?,
            flush: verdict(form.flush, form.flush_errno, ("flush", "flush_errno"))?,
        };
        if shapes().any(|asked| asked == trial.asked()) {
            return Ok(trial);
        }
        let family = trial
            .family
            .map_or(String::new(), |family| format!("{family} "));
        Err(E::custom(Error::invalid(
            "shape",
            format!("{family}{}", trial.shape),
            "never asked of a kernel",
            "a shape that this version of the library tries",
        )))
    }
}

form!(SupportForm {
    "release" => release: String,
    "boot" => boot: String,
    "edition" => edition: u32,
    "trials" => trials: Vec<Trial>,
    "features" => features: Features,
    "why_not" => why_not: String,
});

impl Formed for KernelSupport {
    type Form = SupportForm;
    const WHAT: &'static str = "what was proven of a kernel";

    fn form(&self, _: Side) -> SupportForm {
        let boot = self.boot.as_ref();
        SupportForm {
            release: boot.map(|boot| boot.release.clone()),
            boot: boot.map(|boot| boot.id.clone()),
            edition: self.edition,
            trials: Some(self.trials().to_vec()),
            features: Some(self.features()),
            why_not: self.why_not.clone(),
        }
    }

    fn of<E: de::Error>(form: SupportForm, _: Side) -> Result<Self, E> {
        let trials = need::<_, E>(form.trials, "trials")?;
        for (n, trial) in trials.iter().enumerate() {
            if trials[..n]
                .iter()
                .any(|before| before.asked() == trial.asked())
            {
                let shape = trial.shape.to_string();
                let expected = "one trial of a shape and family";
                return Err(E::custom(Error::invalid(
                    "trials",
                    shape,
                    "there twice",
                    expected,
                )));
            }
        }
        let boot = match (form.release, form.boot) {
            (None, None) => None,
            (release, id) => Some(Boot {
                release: need(release, "release")?,
                id: need(id, "boot")?,
            }),
        };
        Ok(Self {
            trials,
            tester: None,
            features: form.features.unwrap_or_default(),
            edition: form.edition,
            boot,
            why_not: form.why_not,
        })
    }
}
