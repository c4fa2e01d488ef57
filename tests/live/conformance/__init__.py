"""One script, two servers, compared answer by answer: what the differential tests share."""
