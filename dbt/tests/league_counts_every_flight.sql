-- The league and the seasons count the same flights as gold does.
select league.flights, seasons.flights as flights_of_seasons, gold.flights as flights_of_gold
from (select sum(flights) as flights from {{ ref('airline_league') }}) as league
cross join (select sum(flights) as flights from {{ ref('airline_seasonality') }}) as seasons
cross join (select count(*) as flights from {{ source('operations', 'fact_flight') }}) as gold
where league.flights <> gold.flights or seasons.flights <> gold.flights
