//! The grammar of cron schedules: whether a line of five fields, or a macro, says when.

/// What is wrong with a schedule, as one sentence; nothing when it is right.
pub(super) fn fault(schedule: &str) -> Option<String> {
    const MACROS: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
    if let Some(interval) = schedule.strip_prefix("@every ") {
        let right = !interval.is_empty()
            && interval.ends_with(['s', 'm', 'h'])
            && interval.starts_with(|c: char| c.is_ascii_digit());
        return (!right).then(|| format!("{interval:?} is not a duration such as 1h30m"));
    }
    if schedule.starts_with('@') {
        return (!MACROS.contains(&schedule)).then(|| format!("unrecognized descriptor: {schedule}"));
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Some(format!("expected exactly 5 fields, found {}: {fields:?}", fields.len()));
    }
    fields.iter().zip(&FIELDS).find_map(|(text, field)| field.fault(text))
}

struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    words: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", least: 0, most: 59, words: &[] },
    Field { name: "hour", least: 0, most: 23, words: &[] },
    Field { name: "day of month", least: 1, most: 31, words: &[] },
    Field {
        name: "month",
        least: 1,
        most: 12,
        words: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    },
    Field { name: "day of week", least: 0, most: 6, words: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] },
];

impl Field {
    fn fault(&self, text: &str) -> Option<String> {
        text.split(',').find_map(|part| self.part_fault(part))
    }

    /// `*`, `?`, `a`, `a-b`, each with `/step` if wanted.
    fn part_fault(&self, part: &str) -> Option<String> {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        if let Some(step) = step
            && !step.parse::<u32>().is_ok_and(|step| step > 0)
        {
            return Some(format!("{}: {step:?} is not a step: {part}", self.name));
        }
        if matches!(range, "*" | "?") {
            return None;
        }
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (Some(first), Some(last)) = (self.number(first), self.number(last)) else {
            return Some(format!("{}: {range:?} is not between {} and {}", self.name, self.least, self.most));
        };
        (first > last).then(|| format!("{}: beginning of range ({first}) beyond its end ({last}): {part}", self.name))
    }

    fn number(&self, text: &str) -> Option<u32> {
        let word = self.words.iter().position(|word| word.eq_ignore_ascii_case(text));
        let number = match word {
            Some(position) => self.least + u32::try_from(position).ok()?,
            None => text.parse().ok()?,
        };
        (self.least..=self.most).contains(&number).then_some(number)
    }
}
