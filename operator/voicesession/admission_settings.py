"""By what starts of rooms are bound, as the environment says it: the same to token service and operator."""

from datetime import timedelta

from pydantic import BaseModel, Field

from voicesession.admission import AdmissionLimits


class AdmissionSettings(BaseModel):
    """A part of the settings of whoever admits."""

    max_ticket_age_seconds: int = Field(
        default=120, ge=1, description="Longest time from a ticket's issue to its room's start, in seconds."
    )
    max_starts_per_call: int = Field(default=3, ge=1, description="How many rooms one ticket may start.")
    tenant_max_sessions: int | None = Field(
        default=None,
        ge=0,
        description="Most calls of a tenant at once; without API keys, of everybody together.",
    )

    @property
    def admission_limits(self) -> AdmissionLimits:
        """Returns what binds every start of a room."""
        return AdmissionLimits(
            max_ticket_age=timedelta(seconds=self.max_ticket_age_seconds),
            max_starts_per_call=self.max_starts_per_call,
            tenant_max_sessions=self.tenant_max_sessions,
        )
