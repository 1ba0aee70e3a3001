//! Times in PostgreSQL's form.

use jiff::Timestamp;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgTypeInfo, PgValueFormat, PgValueRef, Postgres};
use sqlx::{Decode, Encode, Type};

/// The type TIMESTAMPTZ, which has the same number in every PostgreSQL.
const TIMESTAMPTZ: Oid = Oid(1184);
/// The epoch of its microseconds: 2000-01-01, in seconds since 1970.
const ZERO: i64 = 946_684_800;

/// A TIMESTAMPTZ, to the microsecond. A time outside the supported years (including `infinity`) is cut to their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment(pub(crate) Timestamp);

impl Type<Postgres> for Moment {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(TIMESTAMPTZ)
    }

    fn compatible(found: &PgTypeInfo) -> bool {
        found.oid() == Some(TIMESTAMPTZ)
    }
}

impl Encode<'_, Postgres> for Moment {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let micros = self.0.as_microsecond().saturating_sub(ZERO * 1_000_000);
        Encode::<Postgres>::encode_by_ref(&micros, buffer)
    }
}

impl Decode<'_, Postgres> for Moment {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        if value.format() == PgValueFormat::Text {
            return Err("a time came as text".into());
        }
        let micros = i64::from_be_bytes(value.as_bytes()?.try_into()?);
        Ok(Self(from_micros(micros)))
    }
}

fn from_micros(micros: i64) -> Timestamp {
    let end = if micros < 0 { Timestamp::MIN } else { Timestamp::MAX };
    micros
        .checked_add(ZERO * 1_000_000)
        .and_then(|micros| Timestamp::from_microsecond(micros).ok())
        .unwrap_or(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn microseconds_count_from_the_year_2000_and_infinity_is_the_end_of_time() {
        assert_eq!(from_micros(0).to_string(), "2000-01-01T00:00:00Z");
        assert_eq!(from_micros(-1).to_string(), "1999-12-31T23:59:59.999999Z");
        assert_eq!(from_micros(i64::MAX), Timestamp::MAX);
        assert_eq!(from_micros(i64::MIN), Timestamp::MIN);
    }
}
